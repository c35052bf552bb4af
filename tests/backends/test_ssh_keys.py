"""Who is who: keys of hosts and keys of ours, as OpenSSH's configuration and its files of known hosts have it."""

import base64
import contextlib
import getpass
import socket
import subprocess
from pathlib import Path

import pytest

from rush.backends.ssh import config as configuration
from rush.backends.ssh import known_hosts
from rush.backends.ssh.config import Target, route, settings_of
from rush.backends.ssh.known_hosts import Verdict
from rush.backends.ssh.links import link_to
from rush.errors import BackendError
from tests.backends.sshd import make_key


def ask(config, name="alpha", **options):
    """Log in and have the host say something."""
    return link_to(Target(name, config, **options), 20).run(b"cat", b"hello", 20).output.decode()


@pytest.fixture
def host(start_sshd):
    return start_sshd("alpha")


def test_a_host_is_found_by_its_name_in_the_configuration(host, ssh_config):
    assert ask(ssh_config(host.block("alpha"))) == "hello"


def test_included_files_count(host, ssh_config, tmp_path):
    (tmp_path / "included").write_text(host.block("alpha"))
    assert ask(ssh_config(f"Include {tmp_path}/included")) == "hello"


def test_user_and_port_may_stand_in_the_name(host, ssh_config):
    config = ssh_config(host.block("*", Port=1, User="nobody"))
    user = getpass.getuser()
    assert ask(config, f"{user}@{host.address}:{host.port}") == "hello"
    assert ask(config, f"ssh://{user}@[{host.address}]:{host.port}") == "hello"


def test_without_the_program_ssh_the_configuration_is_read_all_the_same(host, ssh_config, monkeypatch, tmp_path):
    monkeypatch.setattr(configuration.shutil, "which", lambda _: None)
    assert ask(ssh_config(host.block("alpha"))) == "hello"
    config = ssh_config(host.block("*", Port=1, User="nobody"))
    assert ask(config, f"{getpass.getuser()}@{host.address}:{host.port}") == "hello"
    with pytest.raises(BackendError, match="Include"):
        ask(ssh_config(f"Include {tmp_path}/other"), "beta")


def test_a_configuration_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(BackendError, match="no SSH configuration at"):
        settings_of(Target("alpha", str(tmp_path / "none")))


def test_a_configuration_that_cannot_be_read_is_an_error(ssh_config):
    with pytest.raises(BackendError, match="'alpha' cannot be read"):
        settings_of(Target("alpha", ssh_config("Host alpha\n    Port many")))


def test_a_proxy_command_is_left_to_openssh(host, ssh_config):
    with pytest.raises(BackendError, match="client='openssh'"):
        ask(ssh_config(host.block("alpha", ProxyCommand="nc %h %p")))


def test_an_unknown_host_is_refused_with_the_command_that_helps(host, ssh_config, tmp_path):
    config = ssh_config(host.block("alpha", UserKnownHostsFile=tmp_path / "none"))
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", host.folder / "host_ed25519.pub"], capture_output=True, text=True, check=True
    ).stdout.split()[1]
    with pytest.raises(BackendError, match="key of host 'alpha' is not known") as caught:
        ask(config)
    assert fingerprint in str(caught.value)
    assert str(caught.value).endswith(f"ssh -F {config} alpha")
    assert "session opened" not in host.log
    assert "Accepted" not in host.log


def test_a_changed_key_is_refused_and_says_where_the_old_one_stands(host, ssh_config):
    known = host.known_hosts
    host.stop()
    host.new_host_key()
    host.start()
    before = host.block("alpha", UserKnownHostsFile=known)
    known.write_text(f"# comment\n{host.known_name} {(host.folder / 'id_ed25519.pub').read_text()}")
    with pytest.raises(BackendError, match="shows another key") as caught:
        ask(ssh_config(before))
    assert f"{known}:2" in str(caught.value)
    assert f"ssh-keygen -R '{host.known_name}' -f '{known}'" in str(caught.value)


@pytest.mark.parametrize("strictness", ["no", "accept-new"])
def test_a_changed_key_is_refused_however_lax(host, ssh_config, strictness):
    block = host.block("alpha", StrictHostKeyChecking=strictness)
    host.known_hosts.write_text(f"{host.known_name} {(host.folder / 'id_ed25519.pub').read_text()}")
    with pytest.raises(BackendError, match="shows another key"):
        ask(ssh_config(block))


@pytest.mark.parametrize("hashed", ["yes", "no"])
def test_a_new_host_is_accepted_and_written_down_where_that_is_wanted(host, ssh_config, tmp_path, hashed):
    file = tmp_path / "known" / "hosts"
    options = {"StrictHostKeyChecking": "accept-new", "UserKnownHostsFile": file, "HashKnownHosts": hashed}
    assert ask(ssh_config(host.block("alpha", **options))) == "hello"
    line = file.read_text()
    assert (host.known_name in line) is (hashed == "no")
    found = subprocess.run(["ssh-keygen", "-F", host.known_name, "-f", file], capture_output=True, check=False)
    assert found.returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    (verdict, _) = known_hosts.judge(known_hosts.read([str(file)]), (host.known_name,), *shown(host))
    assert verdict is Verdict.KNOWN


def shown(host):
    kind, key = host.host_key.split()
    return kind, base64.b64decode(key)


def test_hashed_names_are_understood(host, ssh_config):
    known = host.known_hosts
    subprocess.run(["ssh-keygen", "-H", "-f", known], capture_output=True, check=True)
    text = known.read_text()
    block = host.block("alpha")
    known.write_text(text)
    assert text.startswith("|1|")
    assert ask(ssh_config(block)) == "hello"


def judged(host, lines, name=None):
    file = host.folder / "lines"
    file.write_text(lines)
    names = (name,) if name else (host.known_name, host.address)
    return known_hosts.judge(known_hosts.read([str(file), "/no/such/file"]), names, *shown(host))[0]


def test_lines_of_known_hosts_are_read_as_openssh_reads_them(host):
    key, other = host.host_key, (host.folder / "id_ed25519.pub").read_text().strip()
    assert judged(host, f"{host.known_name} {key}\n") is Verdict.KNOWN
    assert judged(host, f"other,{host.known_name} {other}\n{host.known_name} {key} comment\n") is Verdict.KNOWN
    assert judged(host, f"{host.address} {key}\n") is Verdict.KNOWN, "the name without the port"
    assert judged(host, f"{host.address} {other}\n") is Verdict.UNKNOWN, "the same address, another port"
    assert judged(host, f"*.cluster.org,!login.* {key}\n", "n1.cluster.org") is Verdict.KNOWN
    assert judged(host, f"*.cluster.org,!login.* {key}\n", "login.cluster.org") is Verdict.UNKNOWN
    assert judged(host, f"[127.0.0.?]:{host.port} {key}\n") is Verdict.KNOWN
    assert judged(host, f"{host.known_name} {key}\n@revoked * {key}\n") is Verdict.REVOKED
    assert judged(host, f"@revoked * {other}\n{host.known_name} {key}\n") is Verdict.KNOWN
    assert judged(host, f"@cert-authority * {key}\n") is Verdict.UNKNOWN
    assert judged(host, f"{host.known_name} {other}\n") is Verdict.CHANGED
    assert (
        judged(host, f"{host.known_name} ssh-ed25519\n\n# {key}\n{host.known_name} ssh-ed25519 ???\n")
        is Verdict.UNKNOWN
    )
    assert judged(host, f"|1|bad {key}\n") is Verdict.UNKNOWN


def test_a_revoked_key_is_refused(host, ssh_config):
    block = host.block("alpha")
    host.known_hosts.write_text(f"@revoked * {host.host_key}\n")
    with pytest.raises(BackendError, match="revoked in"):
        ask(ssh_config(block))


def test_the_kind_of_key_that_is_known_is_asked_for(start_sshd, ssh_config, tmp_path):
    rsa = tmp_path / "host_rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", rsa], check=True)
    host = start_sshd("alpha", settings={"HostKey": f"{tmp_path}/sshd-alpha/host_ed25519\nHostKey {rsa}"})
    block = host.block("alpha")
    host.known_hosts.write_text(f"{host.known_name} {(tmp_path / 'host_rsa.pub').read_text()}")
    assert ask(ssh_config(block)) == "hello"


def test_an_alias_for_the_key_stands_for_the_host(host, ssh_config):
    block = host.block("alpha", HostKeyAlias="Farm")
    host.known_hosts.write_text(f"farm {host.host_key}\n")
    assert ask(ssh_config(block)) == "hello"


def test_a_wrong_key_is_an_error_that_says_which_were_shown(host, ssh_config, tmp_path):
    wrong = make_key(tmp_path / "wrong")
    with pytest.raises(BackendError, match=r"'alpha' does not let .* in; keys shown: .*wrong"):
        ask(ssh_config(host.block("alpha", IdentityFile=wrong)))


def test_an_encrypted_key_needs_the_agent_and_the_error_says_so(host, ssh_config):
    key = make_key(host.folder / "locked", passphrase="secret")
    (host.folder / "authorized_keys").write_text((host.folder / "locked.pub").read_text())
    config = ssh_config(host.block("alpha", IdentityFile=key))
    with pytest.raises(BackendError, match=f"ssh-add {key}"):
        ask(config)


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """Run an agent, and give what adds a key to it."""
    socket = str(tmp_path / "agent")
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", socket)
    while not Path(socket).exists():
        assert process.poll() is None

    def add(key):
        subprocess.run(["ssh-add", "-q", str(key)], check=True, capture_output=True)

    yield add
    process.terminate()
    process.wait()


def test_the_agents_keys_open_the_host(host, ssh_config, agent, tmp_path):
    agent(make_key(tmp_path / "other"))
    agent(host.key)
    block = host.block("alpha", IdentityFile=tmp_path / "none", IdentitiesOnly="no")
    assert ask(ssh_config(block)) == "hello"


def test_the_agent_may_be_another_than_that_of_the_environment_or_none(host, ssh_config, agent, monkeypatch, tmp_path):
    agent(host.key)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    options = {"IdentityFile": tmp_path / "none", "IdentitiesOnly": "no"}
    for other in ("none", tmp_path / "nobody"):
        with pytest.raises(BackendError, match="keys shown: none"):
            ask(ssh_config(host.block("alpha", IdentityAgent=other, **options)))
    assert ask(ssh_config(host.block("alpha", IdentityAgent=tmp_path / "agent", **options))) == "hello"


def test_names_of_key_files_may_have_tokens(host, ssh_config):
    make_key(host.folder / f"{getpass.getuser()}-{host.address}-{host.port}")
    (host.folder / "authorized_keys").write_text(
        (host.folder / f"{getpass.getuser()}-{host.address}-{host.port}.pub").read_text()
    )
    assert ask(ssh_config(host.block("alpha", IdentityFile=f"{host.folder}/%r-%h-%p"))) == "hello"


def test_a_certificate_beside_a_key_is_shown(start_sshd, ssh_config, tmp_path):
    authority, key = make_key(tmp_path / "authority"), make_key(tmp_path / "signed")
    sign = ["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", getpass.getuser(), f"{key}.pub"]
    subprocess.run(sign, check=True, capture_output=True)
    host = start_sshd("alpha", settings={"TrustedUserCAKeys": f"{authority}.pub"})
    (host.folder / "authorized_keys").write_text("")
    assert ask(ssh_config(host.block("alpha", IdentityFile=key))) == "hello"


def test_only_the_keys_that_are_named_are_shown_where_that_is_wanted(host, ssh_config, agent, tmp_path):
    agent(host.key)
    block = host.block("alpha", IdentityFile=make_key(tmp_path / "other"), IdentitiesOnly="yes")
    with pytest.raises(BackendError, match=r"keys shown: [^ ]*other$"):
        ask(ssh_config(block))
    public = tmp_path / "public.pub"
    public.write_text((host.folder / "id_ed25519.pub").read_text())
    assert ask(ssh_config(host.block("alpha", IdentityFile=public, IdentitiesOnly="yes"))) == "hello"


def test_a_host_that_asks_for_more_than_a_key_points_to_openssh(start_sshd, ssh_config):
    settings = {"AuthenticationMethods": "publickey,password", "PasswordAuthentication": "yes"}
    host = start_sshd("alpha", settings=settings)
    with pytest.raises(BackendError, match=r"also asks for password; .*client='openssh'"):
        ask(ssh_config(host.block("alpha")))


def test_a_host_that_takes_no_keys_points_to_openssh(start_sshd, ssh_config):
    settings = {"PubkeyAuthentication": "no", "PasswordAuthentication": "yes"}
    host = start_sshd("alpha", settings=settings)
    with pytest.raises(BackendError, match=r"asks for password; .*client='openssh'"):
        ask(ssh_config(host.block("alpha")))


def test_something_else_on_the_port_is_an_error_that_names_the_host(server, ssh_config, host):
    with pytest.raises(BackendError, match="'alpha' broke off"):
        ask(ssh_config(host.block("alpha", Port=server.port)))


def test_a_host_that_says_nothing_is_given_up(ssh_config, host):
    with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.closing(silent):
        config = ssh_config(host.block("alpha", Port=silent.getsockname()[1]))
        with pytest.raises(BackendError, match="'alpha' broke off"):
            link_to(Target("alpha", config), 1)


@pytest.fixture
def islands(start_sshd, ssh_config):
    """Three hosts in a row, the second and third reached through those before."""
    gate, middle, inner = start_sshd("gate"), start_sshd("middle"), start_sshd("inner")

    def configured(jumps="gate,middle", **options):
        return ssh_config(gate.block("gate"), middle.block("middle", **options), inner.block("inner", ProxyJump=jumps))

    return gate, middle, inner, configured


def test_a_host_is_reached_through_others(islands):
    gate, middle, inner, configured = islands
    assert ask(configured(), "inner") == "hello"
    assert [host.log.count("Accepted publickey") for host in (gate, middle, inner)] == [1, 1, 1]


def test_the_way_to_a_jump_host_is_its_own(islands):
    gate, middle, inner, configured = islands
    assert ask(configured("middle", ProxyJump="gate"), "inner") == "hello"
    assert [host.log.count("Accepted publickey") for host in (gate, middle, inner)] == [1, 1, 1]


def test_a_pattern_for_all_hosts_does_not_send_the_jump_host_through_itself(start_sshd, ssh_config):
    gate, inner = start_sshd("gate"), start_sshd("inner")
    config = ssh_config(gate.block("gate"), inner.block("inner"), "Host *\n    ProxyJump gate\n")
    assert ask(config, "inner") == "hello"


def test_a_jump_host_that_is_not_there_is_named(islands):
    gate, _, _, configured = islands
    gate.stop()
    with pytest.raises(BackendError, match="'gate'"):
        ask(configured(), "inner")


def test_a_host_behind_a_jump_host_that_is_not_there_is_named(islands):
    _, _, inner, configured = islands
    inner.stop()
    with pytest.raises(BackendError, match=r"'inner' .* cannot be reached through 'middle'"):
        ask(configured(), "inner")


def test_jump_hosts_in_a_circle_are_an_error(ssh_config):
    config = ssh_config("Host a\n    ProxyJump b", "Host b\n    ProxyJump a")
    with pytest.raises(BackendError, match="circle"):
        route(Target("a", config))


def test_the_connection_to_a_jump_host_is_shared(islands):
    gate, _, _, configured = islands
    config = configured("gate", ProxyJump="gate")
    assert ask(config, "inner") == "hello"
    assert ask(config, "middle") == "hello"
    assert gate.log.count("Accepted publickey") == 1
