"""What job systems have in common: folders, scripts, running their programs, submitting in parts."""

import contextlib
import inspect
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rush.backends.processes import module_paths
from rush.config import job_environment
from rush.errors import BackendError
from rush.model import Placement, WorkerCommand

PATIENCE = 60.0
"""Seconds for which a program of a job system may take to answer."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0

Submit = Callable[[int, int], Sequence[Placement]]


class LimitReached(BackendError):
    """The job system takes no more jobs for now."""


def run(argv: Sequence[str], patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    """Run a program of the job system, in an environment without leftovers of the job that this may be.

    Raises
    ------
    BackendError
        It is not there, or does not answer.
    """
    try:
        return subprocess.run(
            argv, env=job_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=patience, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BackendError(f"{argv[0]} is not installed here, or not on PATH; run this on a login node") from error
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"{shlex.join(argv[:3])} did not answer within {patience:g} s") from error


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


def title(network_id: str) -> str:
    """Give the first comment of a job script."""
    return f"Workers of the rush network {network_id}. The secrets stay in a file that only its owner can read."


def python_command(python: str | None) -> str:
    """Give the shell words of the interpreter: this one's path, or what the user wrote, a container command perhaps."""
    return shlex.quote(sys.executable) if python is None else python


def worker_line(command: WorkerCommand, python: str, folder: Path | str, number: int) -> str:
    """Give the shell line that runs one supervisor; its secrets stay in a file."""
    words = [*command.arguments, "--secrets", f"{folder}/secrets-{number}", "--folder", str(folder), *module_paths()]
    return f"exec {python} {shlex.join(words)}"


def write_commands(commands: Sequence[WorkerCommand], python: str, folder: Path) -> None:
    """Write a script and a file of secrets for each command, which only their owner can read."""
    for number, command in enumerate(commands):
        _write(folder / f"secrets-{number}", command.secret + b"\n")
        _write(folder / f"worker-{number}.sh", f"#!/bin/sh\n{worker_line(command, python, folder, number)}\n".encode())


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


def submit_in_parts(count: int, largest: int, submit: Submit, timeout: float) -> list[Placement]:
    """Submit `count` commands in parts of at most `largest`, held back and halved where the job system has had enough.

    Raises
    ------
    BackendError
        One part was refused for good, or for `timeout` seconds; what was placed stands in its `placements`.
    """
    placed: list[Placement] = []
    size, pause, first_refusal = largest, _FIRST_PAUSE, 0.0
    while len(placed) < count:
        try:
            placed += submit(len(placed), min(size, count - len(placed)))
        except LimitReached as error:
            now = time.monotonic()
            first_refusal = first_refusal or now
            if size > 1:
                size = max(1, min(size, count - len(placed)) // 2)
                continue
            if now - first_refusal + pause > timeout:
                raise BackendError(f"{len(placed)} of {count} jobs were placed: {error}", placed) from error
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        except BackendError as error:
            raise BackendError(f"{len(placed)} of {count} jobs were placed: {error}", placed) from error
        else:
            pause, first_refusal = _FIRST_PAUSE, 0.0
    return placed


class Rhythm:
    """How often a job system may be asked: at once after something was done, then ever more rarely."""

    def __init__(self, shortest: float = 1.0, longest: float = 30.0) -> None:
        self._shortest, self._longest = shortest, longest
        self._pause = 0.0
        self._next = 0.0

    def is_due(self) -> bool:
        """Say whether it may be asked now."""
        return time.monotonic() >= self._next

    def asked(self) -> None:
        """Note that it was asked, which makes the next pause longer."""
        self._pause = min(self._longest, max(self._shortest, self._pause * 1.5))
        self._next = time.monotonic() + self._pause

    def hurry(self) -> None:
        """Something was done: look again soon."""
        self._pause, self._next = 0.0, 0.0


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


def shares(n_workers: int, workers_per_job: int) -> list[int]:
    """Fill jobs with workers; the last one takes what is left."""
    full, rest = divmod(n_workers, workers_per_job)
    return [workers_per_job] * full + ([rest] if rest else [])


def lines(value: Sequence[str], name: str) -> tuple[str, ...]:
    """Check lines of shell.

    Raises
    ------
    TypeError
        It is one text, not a list of them.
    """
    if isinstance(value, str):
        raise TypeError(f"{name} must be a list of shell lines, got {value!r}; write {name}=[{value!r}]")
    return tuple(value)


def stated(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options that differ from their defaults, by which another process can submit the same again."""
    known = inspect.signature(kind).parameters
    return {name: value for name, value in given.items() if value != known[name].default}
