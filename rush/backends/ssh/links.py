"""Connections to hosts: one for each, shared by all that this process does there, opened again when it is lost."""

import atexit
import os
import threading
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from rush.backends.registry import load_backend
from rush.backends.ssh.config import Target
from rush.errors import BackendError

BOOT = "exec /bin/sh -c 'eval \"$(dd bs=1 count={} 2>/dev/null)\"'"
"""The command line, the same in every login shell: all that is said to the host goes over standard input."""


@dataclass(frozen=True)
class Answer:
    """How a script on a host ended, and what it wrote."""

    code: int
    output: bytes
    errors: str


Place = tuple[str, int] | str
"""Where a server listens: host and port, or the path of a Unix socket."""


@dataclass(frozen=True)
class Forwarding:
    """The port of a host that leads here, and the host's process, with its start, that listens on it."""

    port: int
    process: str


class LinkLost(BackendError):
    """The connection broke, or the host did not answer in time; what was asked for may have been done."""


class Link(Protocol):
    """A way to run shell scripts on a host."""

    def run(self, script: bytes, data: bytes, patience: float) -> Answer:
        """Run a script whose standard input is `data`."""

    def forward(self, port: int, place: Place, patience: float) -> Forwarding:
        """Carry what comes to a port of the host's loopback, 0 for any, to a place that is reached from here.

        Raises
        ------
        BackendError
            The host does not do it.
        """

    def is_open(self) -> bool:
        """Say whether it can be used; False makes way for a new one."""

    def is_alive(self, patience: float) -> bool:
        """Ask the host whether it is still there."""

    def close(self) -> None:
        """End the connection; workers go on."""

    def let_go(self) -> None:
        """Drop a forked child's copy without a word to the host."""


class _Slot:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.link: Link | None = None


_slots: dict[tuple[Target, str], _Slot] = {}
_guard = threading.Lock()


def link_to(target: Target, patience: float, purpose: str = "") -> Link:
    """Give the connection to a host.

    Parameters
    ----------
    patience
        Seconds that it may take to come about.
    purpose
        What has a connection of its own.

    Raises
    ------
    BackendError
        The host cannot be reached, is not the one that is known, or does not let us in.
    """
    with _guard:
        slot = _slots.setdefault((target, purpose), _Slot())
    if not slot.lock.acquire(timeout=patience):
        raise LinkLost(f"host {target.name!r} did not answer within {patience:g} s")
    try:
        if slot.link is None or not slot.link.is_open():
            if slot.link is not None:
                slot.link.close()
                slot.link = None
            module: Any = load_backend(lambda: import_module(f"rush.backends.ssh.{target.client}"), "ssh")
            link: Link = module.connect(target, patience)
            slot.link = link
        return slot.link
    finally:
        slot.lock.release()


def drop_link(target: Target, purpose: str = "") -> None:
    """End a connection, if there is one."""
    with _guard:
        slot = _slots.pop((target, purpose), None)
    if slot is not None and slot.link is not None:
        slot.link.close()


def close_links() -> None:
    """End all connections."""
    with _guard:
        slots = list(_slots.values())
        _slots.clear()
    for slot in slots:
        if slot.link is not None:
            slot.link.close()


def _let_go_after_fork() -> None:
    """A forked child has no threads to serve connections, and must not write into those of its parent."""
    global _guard  # noqa: PLW0603 - it may have been held in the parent
    _guard = threading.Lock()
    for slot in _slots.values():
        if slot.link is not None:
            slot.link.let_go()
    _slots.clear()


os.register_at_fork(after_in_child=_let_go_after_fork)
atexit.register(close_links)
