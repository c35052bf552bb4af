"""Wheel and sdist hold what git holds, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINKS = {"backends", "templates"}


def _tracked() -> set[str]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in names.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build both from what git tracks, as a fresh clone would hold it."""
    if not (ROOT / ".git").exists():
        pytest.skip("not in a clone")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    for name in _tracked():
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder / "dist"


@pytest.mark.slow
def test_sdist_holds_all_of_git_but_the_links(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()}
    assert names - {"PKG-INFO"} == _tracked() - LINKS


@pytest.mark.slow
def test_wheel_holds_the_package_of_git(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {name for name in _tracked() if name.startswith("rush/")}


def test_links_at_the_top_lead_into_the_package():
    if not (ROOT / ".git").exists():
        pytest.skip("not in a clone")
    for name in LINKS:
        assert (ROOT / name).readlink() == Path("rush") / name


def test_lock_files_name_no_host_and_no_path():
    if not (ROOT / "requirements").exists():
        pytest.skip("not in a clone")
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path
        assert "-index-url" not in text, path
        assert str(Path.home()) not in text, path
