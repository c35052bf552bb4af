"""What a job is made of: its folder, the file with its secrets, the shell lines that it runs, its time limit."""

import contextlib
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rush.backends.processes import module_paths
from rush.errors import BackendError
from rush.model import WorkerCommand

_FIRST_SCRIPT = "worker-0.sh"


def new_folder(parent: str | None, network_id: str) -> Path:
    """Make a fresh folder of mode 0700 for one start, on the file system that nodes share.

    By default it lies in the user's home, which is shared nearly everywhere.
    """
    if parent is None:
        import platformdirs

        parent = str(platformdirs.user_data_path("rush") / "jobs")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = Path(parent).expanduser().absolute() / f"{network_id}-{stamp}-{secrets.token_hex(3)}"
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise BackendError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def remove_folders(folders: Iterable[str]) -> None:
    """Remove folders that `new_folder` made, and no other: they are known by their scripts."""
    for folder in map(Path, folders):
        if (folder / _FIRST_SCRIPT).is_file():
            shutil.rmtree(folder, ignore_errors=True)


def title(network_id: str) -> str:
    """Give the first comment of a job script."""
    return f"Workers of the rush network {network_id}. The secrets stay in a file that only its owner can read."


def python_command(python: str | None) -> str:
    """Give the shell words of the interpreter: this one's path, or what the user wrote, a container command perhaps."""
    return shlex.quote(sys.executable) if python is None else python


def check_lines(lines: Sequence[str], name: str) -> None:
    """Check lines of shell.

    Raises
    ------
    TypeError
        They are one text, not a list.
    """
    if isinstance(lines, str):
        raise TypeError(f"{name} must be a list of shell lines, got {lines!r}; write {name}=[{lines!r}]")


def secrets_file(folder: Path, number: int, *, again: bool) -> Path:
    """Name the file with the secrets of a job; it is gone once they were read, unless the job may start again."""
    return folder / (f"secrets-{number}" if again else f"secrets-{number}.once")


def worker_line(command: WorkerCommand, python: str, folder: Path, file: Path) -> str:
    """Give the shell line that runs one supervisor; its secrets stay in a file."""
    words = [*command.arguments, "--secrets", str(file), "--folder", str(folder), *module_paths()]
    return f"exec {python} {shlex.join(words)}"


def write_command(command: WorkerCommand, python: str, folder: Path, number: int, file: Path) -> None:
    """Write a script and a file of secrets for a command, which only their owner can read."""
    _write(file, command.secret + b"\n")
    _write(folder / f"worker-{number}.sh", f"#!/bin/sh\n{worker_line(command, python, folder, file)}\n".encode())


def command_block(command: str, teardown: Sequence[str]) -> str:
    """Give the shell lines that run the supervisor.

    Without lines for afterwards it takes the shell's place, so that signals for the job are its own. Else the shell
    outlives it: SIGTERM comes to both, SIGUSR2 is handed on.
    """
    if not teardown:
        return f"exec {command}"
    return "\n".join(
        (
            f"{command} &",
            "worker=$!",
            "trap : TERM INT",
            "trap 'kill -USR2 $worker' USR2",
            'while kill -0 "$worker" 2>/dev/null; do wait "$worker"; status=$?; done',
            *teardown,
            'exit "${status:-1}"',
        )
    )


def seconds_of(limit: "str | int | None") -> int | None:
    """Read a time limit: minutes as a number, or ``HH:MM:SS``, ``MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``.

    Raises
    ------
    ValueError
        It is none of these.
    """
    if limit is None:
        return None
    text = str(limit)
    days, dash, clock = text.rpartition("-")
    with contextlib.suppress(ValueError):
        parts = [int(part) for part in clock.split(":")]
        if dash and len(parts) <= 3:
            hours, minutes, seconds = (*parts, 0, 0)[:3]
            return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
        if len(parts) == 1:
            return parts[0] * 60
        if len(parts) <= 3:
            hours, minutes, seconds = (0, *parts)[-3:]
            return hours * 3600 + minutes * 60 + seconds
    raise ValueError(f"time must be minutes or a text like '02:00:00' or '1-12:00:00', got {limit!r}")


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
