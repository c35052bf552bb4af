"""Where a server listens and where it keeps its files."""

from pathlib import Path

import pytest

from rush.errors import ConfigError
from rush.server import folders, start_server
from rush.server.addresses import choose_address, interfaces, pick
from rush.server.folders import network_kind, prepare, temporary_folder
from rush.server.launch import quoted
from rush.server.programs import own_kind

FOUND = {
    "lo": ["127.0.0.1", "::1"],
    "docker0": ["172.17.0.1"],
    "eth0": ["8.8.8.8"],
    "ib0": ["10.1.0.4"],
    "eth1": ["192.168.3.4"],
}


def test_loopback_unless_told_otherwise():
    assert choose_address(None) == "127.0.0.1"
    assert choose_address("127.0.0.1") == "127.0.0.1"


def test_interface_stands_for_its_address():
    assert pick("ib0", FOUND, []) == "10.1.0.4"
    assert pick("8.8.8.8", FOUND, []) == "8.8.8.8"


def test_auto_is_private_and_prefers_the_hosts_own_name():
    assert pick("auto", FOUND, []) == "10.1.0.4"
    assert pick("auto", FOUND, ["8.8.8.8", "192.168.3.4"]) == "192.168.3.4"


@pytest.mark.parametrize("found", [{}, {"eth0": ["8.8.8.8"]}, {"docker0": ["172.17.0.1"]}, {"lo": ["127.0.0.1"]}])
def test_auto_is_never_public(found):
    with pytest.raises(ConfigError, match="no private address"):
        pick("auto", found, ["8.8.8.8"])


@pytest.mark.parametrize("bind", ["eth9", "9.9.9.9", "0.0.0.0", "::", "bad address"])
def test_other_binds_are_errors_that_list_what_there_is(bind):
    with pytest.raises(ConfigError, match=r"ib0 \(10\.1\.0\.4\)"):
        pick(bind, FOUND, [])


def test_public_address_is_warned_of(monkeypatch, caplog):
    monkeypatch.setattr("rush.server.addresses.interfaces", lambda: FOUND)
    assert choose_address("eth0") == "8.8.8.8"
    assert "public address" in caplog.text


def test_interface_without_address_is_an_error():
    with pytest.raises(ConfigError, match="has no address"):
        pick("x", {"x": []}, [])


def test_this_host_has_loopback():
    assert any("127.0.0.1" in addresses for addresses in interfaces().values())


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/data", "nfs4"),
        ("/scratch/x", "lustre"),
        ("/scratch/local/x", None),
        ("/tmp/x", None),
        ("/mnt/s/x", "fuse.sshfs"),
        ("/twice/x", None),
    ],
)
def test_innermost_mount_decides(folder, kind):
    known = [
        ("/", "ext4"), ("/home", "nfs4"), ("/scratch", "lustre"), ("/scratch/local", "xfs"), ("/mnt/s", "fuse.sshfs"),
        ("/twice", "autofs"), ("/twice", "ext4"),
    ]  # fmt: skip
    assert network_kind(Path(folder), known) == kind
    assert network_kind(Path(folder), []) is None


def test_network_file_system_is_refused_without_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "mounts", lambda: [("/", "nfs4")])
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\).*rush server start --dir"):
        start_server()
    made = temporary_folder()
    made.rmdir()


def test_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        prepare(tmp_path / "file" / "x")


def test_folder_of_another_user_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        prepare(tmp_path)


def test_values_are_quoted():
    assert quoted('a "b" \\ c') == '"a \\x22b\\x22 \\x5c c"'


def test_program_of_this_machine_is_picked():
    programs = [Path(f"/w/{name}/valkey-server") for name in ("linux-aarch64", "linux-x86_64", "macos-arm64")]
    assert own_kind(programs, "linux", "x86_64") == programs[1]
    assert own_kind(programs, "linux", "aarch64") == programs[0]
    assert own_kind(programs, "darwin", "arm64") == programs[2]
    assert own_kind(programs, "linux", "riscv64") is None
    assert own_kind(programs, "win32", "x86_64") is None
