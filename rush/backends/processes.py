"""Processes on this machine: who they are, whether they live, and how a whole tree of them is ended."""

import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from rush.config import node_name
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand

if TYPE_CHECKING:
    import subprocess

_SAME_START = 2.0
_DYING = 5.0
_START_FIELD = 19
"""Where a process's start time stands in ``/proc/PID/stat``, counted from what follows its name."""

_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""What this process has started and `adopt` was told of, by process id."""


def _let_go_after_fork() -> None:
    """Close a forked child's copies of the pipes, or the workers would outlive the manager that they are tied to."""
    for process in _children.values():
        if process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(OSError):
                os.close(process.stdin.fileno())
        process.stdin = None
        process.returncode = 0  # no child of this process
    _children.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)


@cache
def boot_id() -> str:
    """Give what tells this boot of the machine from others."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def identity(pid: int) -> tuple[float | None, Mapping[str, str]]:
    """Give when a process was created and what else tells it from one that takes over its id.

    The start in ticks since boot does not move when the clock is set, as the time of day does; ids of processes mean
    something only within their own namespace.
    """
    details = {"ticks": _ticks(pid), "namespace": _namespace()}
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        created = None
    return created, {name: value for name, value in details.items() if value}


def placement(
    backend: str, command: WorkerCommand, pid: int, *, stdout: str | None = None, stderr: str | None = None
) -> Placement:
    """Give the placement of a command that runs as a process of this machine."""
    created, details = identity(pid)
    return Placement(
        backend=backend,
        id=secrets.token_hex(8),
        worker_ids=command.worker_ids,
        host=node_name(),
        pid=pid,
        boot_id=boot_id(),
        created=created,
        stdout=stdout,
        stderr=stderr,
        details=details,
    )


def is_here(placement: Placement) -> bool:
    """Say whether a placement's process can be seen from here."""
    same_host = placement.host == node_name() and placement.boot_id == boot_id() and placement.pid is not None
    return same_host and placement.details.get("namespace", "") in {"", _namespace()}


def process_of(placement: Placement) -> psutil.Process | None:
    """Give the process of a placement if it lives here; its start tells it from one that took over its id."""
    try:
        process = psutil.Process(placement.pid)
        same = _is_same(process, placement) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def adopt(process: "subprocess.Popen[bytes]") -> None:
    """Keep a process that was started here: for its exit code, and for the pipe by which it may be tied to this one."""
    _children[process.pid] = process


def status_of(placement: Placement) -> PlacementStatus:
    """Say what has become of a placement's process; what cannot be seen from here is unknown."""
    if not is_here(placement):
        return PlacementStatus(
            PlacementState.UNKNOWN, f"its process is on host {placement.host}, or of an earlier boot"
        )
    if process_of(placement) is not None:
        return PlacementStatus(PlacementState.RUNNING)
    child = _children.get(placement.pid or 0)
    code = None if child is None else child.poll()
    how = f"process {placement.pid} has ended" if code is None else exit_phrase(code)
    return PlacementStatus(PlacementState.ENDED, how)


def exit_phrase(code: int) -> str:
    """Say how a process ended, from the return code that `subprocess` gives."""
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"killed by signal {-code}"


def stop(placement: Placement, *, kill: bool) -> None:
    """Have a placement's process drain, or kill its whole tree; one that has ended or is not here is left alone."""
    process = process_of(placement) if is_here(placement) else None
    if process is None:
        return
    if kill:
        kill_tree(process)
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all that descend from it, with the process groups that they lead.

    They are frozen first, parents before children, so that none starts another, or reports a death, meanwhile.
    """
    family: dict[int, psutil.Process] = {}
    found = [process]
    while found:
        for member in found:
            _send(member.pid, signal.SIGSTOP)
            family[member.pid] = member
        with contextlib.suppress(psutil.NoSuchProcess):
            found = [child for child in process.children(recursive=True) if child.pid not in family]
            continue
        break
    for pid in family:
        _send(pid, signal.SIGKILL)
    deadline = time.monotonic() + _DYING
    while any(map(_lives, family.values())) and time.monotonic() < deadline:
        time.sleep(0.01)


def module_paths() -> list[str]:
    """Give the arguments by which workers find the modules that lie beside the manager's script, as it does itself."""
    installed = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    paths = [path for path in sys.path if path and not path.startswith(installed) and os.path.isdir(path)]  # noqa: PTH112
    return [word for path in paths for word in ("--path", os.path.abspath(path))]  # noqa: PTH100 - keeps links


def tail_of(path: str | None, lines: int) -> str:
    """Give the last lines of a file; '' where there is none."""
    if path is None:
        return ""
    try:
        with Path(path).open("rb") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            file.seek(max(0, size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "".join(text.splitlines(keepends=True)[-lines:])


def _send(pid: int, number: int) -> None:
    """Signal a process, or the whole group if it leads one that is not ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        leads = os.getpgid(pid) == pid != os.getpgrp()
        (os.killpg if leads else os.kill)(pid, number)


def _lives(process: psutil.Process) -> bool:
    """Look without waiting for it: the exit code is for the one who started it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _is_same(process: psutil.Process, placement: Placement) -> bool:
    if ticks := placement.details.get("ticks"):
        return _ticks(process.pid) == ticks
    return placement.created is None or abs(process.create_time() - placement.created) < _SAME_START


def _ticks(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_FIELD]
    except (OSError, IndexError):
        return ""


@cache
def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
