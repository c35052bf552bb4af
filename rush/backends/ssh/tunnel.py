"""Tunnels: the server on the loopback of hosts that have no route to it, for as long as this process lives."""

import contextlib
import logging
import os
import threading
import time
from dataclasses import replace

from rush.backends.ssh import host as ssh_host
from rush.backends.ssh.config import Target
from rush.backends.ssh.links import Forwarding, Link, Place, drop_link, link_to
from rush.config import RedisConfig
from rush.errors import BackendError

log = logging.getLogger(__name__)

_PURPOSE = "tunnel"
_LOOK = 1.0
_ASK = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


def through_tunnel(target: Target, secret: bytes, patience: float) -> bytes:
    """Give the secret by which workers on a host reach the server through a tunnel, which is opened if need be.

    Raises
    ------
    BackendError
        The tunnel cannot be opened, or cannot carry this server.
    """
    config = RedisConfig.from_secret(secret)
    if config.cluster or config.sentinels:
        raise BackendError("a tunnel carries one server, not a cluster or what sentinels watch over")
    if config.tls and config.tls_check_hostname:
        raise BackendError(
            "through a tunnel the server is 127.0.0.1, which its certificate does not name; "
            "use RedisConfig(tls_check_hostname=False)"
        )
    port = _tunnel(target, config.unix_socket or (config.host, config.port), patience).port
    return replace(config, host="127.0.0.1", port=port, unix_socket=None).to_secret()


class Tunnel:
    """One way from a port of a host's loopback to the server, which a thread restores whenever it breaks."""

    def __init__(self, target: Target, place: Place, patience: float) -> None:
        self.target, self.place, self.patience = target, place, patience
        self._forwarding = Forwarding(0, "")
        self._link: Link | None = None
        self._ended = threading.Event()
        self._open()
        self._thread = threading.Thread(target=self._keep, daemon=True, name="rush-ssh-tunnel")
        self._thread.start()

    def close(self) -> None:
        """End it; workers on the host lose the server."""
        self._ended.set()
        drop_link(self.target, self._purpose)
        self._thread.join()

    @property
    def port(self) -> int:
        """Where workers on the host find the server; it stays the same."""
        return self._forwarding.port

    @property
    def _purpose(self) -> str:
        return f"{_PURPOSE} {self.place}"

    def _open(self) -> None:
        """Connect, and listen on the same port as ever, which what is left of the broken connection may still hold."""
        link = link_to(self.target, self.patience, self._purpose)
        try:
            self._forwarding = link.forward(self.port, self.place, self.patience)
        except BackendError:
            if not self._forwarding.process:
                drop_link(self.target, self._purpose)
                raise
            ssh_host.end_server_process(link, self._forwarding.process, self.patience)
            self._forwarding = link.forward(self.port, self.place, self.patience)
        self._link = link

    def _keep(self) -> None:
        asked = time.monotonic()
        while not self._ended.wait(_LOOK):
            link = self._link
            whole = link is not None and link.is_open()
            if link is not None and whole and time.monotonic() - asked >= _ASK:
                whole = link.is_alive(_ASK)
                asked = time.monotonic()
            if not whole:
                log.warning("the tunnel to host %r has broken and is being restored", self.target.name)
                self._restore()
        drop_link(self.target, self._purpose)

    def _restore(self) -> None:
        pause = _FIRST_PAUSE
        while not self._ended.is_set():
            drop_link(self.target, self._purpose)
            self._link = None
            try:
                self._open()
            except BackendError as error:
                log.debug("the tunnel to host %r is not there yet: %s", self.target.name, error)
            else:
                log.warning("the tunnel to host %r is restored", self.target.name)
                return
            self._ended.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)


_tunnels: dict[tuple[Target, Place], Tunnel] = {}
_locks: dict[tuple[Target, Place], threading.Lock] = {}


def close_tunnels() -> None:
    """End all tunnels of this process."""
    while _tunnels:
        with contextlib.suppress(KeyError):
            _tunnels.popitem()[1].close()


def _tunnel(target: Target, place: Place, patience: float) -> Tunnel:
    with _locks.setdefault((target, place), threading.Lock()):
        if (target, place) not in _tunnels:
            _tunnels[target, place] = Tunnel(target, place, patience)
        return _tunnels[target, place]


def _forget_after_fork() -> None:
    """Leave the tunnels to the parent, whose threads keep them."""
    _tunnels.clear()
    _locks.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
