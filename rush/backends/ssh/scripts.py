"""The scripts that are run on hosts, and how their answers are told from what a user's shell says at its start."""

from collections.abc import Mapping
from importlib.resources import files

from rush.template import render

_MARK = "rush: "


def read(name: str, values: Mapping[str, str] | None = None) -> str:
    """Give a script with its holes filled."""
    return render((files("rush.backends.ssh.remote") / f"{name}.sh").read_text(), values or {})


def with_processes(name: str, values: Mapping[str, str] | None = None) -> bytes:
    """Give a script, and before it what it needs to know of processes."""
    return (read("processes") + read(name, values)).encode()


def answers(output: bytes) -> list[str]:
    """Give the lines that are meant for us."""
    lines = output.decode(errors="replace").splitlines()
    return [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]


def after(output: bytes, line: str) -> str:
    """Give what follows one of the lines that are meant for us."""
    return output.decode(errors="replace").partition(f"{_MARK}{line}\n")[2]
