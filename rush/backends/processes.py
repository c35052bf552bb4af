"""Processes on this machine: who they are, whether they live, and how a whole tree of them is ended."""

import contextlib
import os
import signal
from functools import cache
from pathlib import Path

import psutil

from rush.config import node_name
from rush.model import Placement, PlacementState, PlacementStatus

_SAME_START = 0.1


@cache
def boot_id() -> str:
    """Give what tells this boot of the machine from others."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def is_here(placement: Placement) -> bool:
    """Say whether a placement's process can be seen from here."""
    return placement.host == node_name() and placement.boot_id == boot_id() and placement.pid is not None


def process_of(placement: Placement) -> psutil.Process | None:
    """Give the process of a placement if it lives here; its start time tells it from one that took over its id."""
    try:
        process = psutil.Process(placement.pid)
        same = placement.created is None or abs(process.create_time() - placement.created) < _SAME_START
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def status_of(placement: Placement) -> PlacementStatus:
    """Say what has become of a placement's process; what cannot be seen from here is unknown."""
    if not is_here(placement):
        return PlacementStatus(PlacementState.UNKNOWN, f"its process is on host {placement.host}")
    if process_of(placement) is None:
        return PlacementStatus(PlacementState.ENDED, f"process {placement.pid} has ended")
    return PlacementStatus(PlacementState.RUNNING)


def exit_phrase(code: int) -> str:
    """Say how a process ended, from the return code that `subprocess` gives."""
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"killed by signal {-code}"


def kill_tree(process: psutil.Process) -> None:
    """Kill a process and all that descend from it, the process groups of its children included."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    own_group = os.getpgrp()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            group = os.getpgid(member.pid)
            if group == member.pid and group != own_group:
                os.killpg(group, signal.SIGKILL)
            member.kill()


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
