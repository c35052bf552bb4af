"""Connections to hosts by paramiko: keys of hosts checked, keys of ours shown, scripts run, ports forwarded."""

import base64
import contextlib
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import paramiko
from paramiko.agent import AgentSSH
from paramiko.pkey import UnknownKeyType

from rush.backends.ssh import known_hosts
from rush.backends.ssh.config import HostSettings, Target, route
from rush.backends.ssh.known_hosts import Verdict
from rush.backends.ssh.links import BOOT, Answer, Forwarding, LinkLost, Place, link_to
from rush.backends.ssh.scripts import answers, with_processes
from rush.errors import BackendError

log = logging.getLogger(__name__)
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEEPALIVE = 15
_DIAL = 10.0
_HOST_KEYS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_PAUSE = 0.1
_FAULTS = (paramiko.SSHException, OSError, EOFError)

_Answer = TypeVar("_Answer")


def connect(target: Target, patience: float) -> "ParamikoLink":
    """Connect to a host, through those on the way.

    Raises
    ------
    BackendError
        The host cannot be reached, is not the one that is known, or does not let us in; the message names it.
    """
    *way, (_, settings) = route(target)
    try:
        wire = _wire(settings, way[-1][0] if way else None, patience)
    except _FAULTS as error:
        through = f" through {way[-1][0].name!r}" if way else ""
        address = f"{settings.host}:{settings.port}"
        raise LinkLost(f"host {target.name!r} ({address}) cannot be reached{through}: {_said(error)}") from error
    transport = paramiko.Transport(wire)
    try:
        _greet(transport, target, settings, patience)
        _log_in(transport, target, settings)
    except BaseException as error:
        transport.close()
        if isinstance(error, _FAULTS):
            raise LinkLost(f"host {target.name!r} broke off while connecting: {_said(error)}") from error
        raise
    transport.set_keepalive(_KEEPALIVE)
    return ParamikoLink(target, transport, wire)


class ParamikoLink:
    """One connection to a host. Scripts run one after another, so that any MaxSessions is enough."""

    def __init__(self, target: Target, transport: paramiko.Transport, wire: Any) -> None:
        self._target = target
        self._transport = transport
        self._wire = wire
        self._turn = threading.Lock()

    def run(self, script: bytes, data: bytes, patience: float) -> Answer:
        """Run a script whose standard input is `data`."""
        deadline = time.monotonic() + patience
        if not self._turn.acquire(timeout=patience):
            raise LinkLost(f"host {self._target.name!r} did not answer within {patience:g} s")
        try:
            with contextlib.closing(self._session(deadline)) as channel:
                channel.settimeout(patience)
                channel.exec_command(BOOT.format(len(script)))
                with contextlib.suppress(OSError):  # a script may end without having read everything
                    channel.sendall(script + data)
                    channel.shutdown_write()
                output = channel.makefile("rb").read()
                errors = channel.makefile_stderr("rb").read().decode(errors="replace")
                if not channel.status_event.wait(max(0.0, deadline - time.monotonic())) or channel.exit_status < 0:
                    raise paramiko.SSHException("it did not say how the command ended")
                return Answer(channel.exit_status, output, errors)
        except _FAULTS as error:
            self.close()
            raise LinkLost(f"the connection to host {self._target.name!r} broke: {_said(error)}") from error
        finally:
            self._turn.release()

    def forward(self, port: int, place: Place, patience: float) -> Forwarding:
        """Carry what comes to a port of the host's loopback to a place that is reached from here."""

        def on_connection(channel: paramiko.Channel, _origin: Any, _listener: Any) -> None:
            threading.Thread(target=_join, args=(channel, place), daemon=True, name="rush-ssh-tunnel").start()

        def ask() -> int:
            return self._transport.request_port_forward("127.0.0.1", port, on_connection)

        opened, fault = self._within(patience, ask)
        if opened is None:
            raise BackendError(f"host {self._target.name!r} does not forward port {port or 'any'}: {fault}")
        return Forwarding(opened, " ".join(answers(self.run(with_processes("tunnel"), b"", patience).output)))

    def is_open(self) -> bool:
        """Say whether it can be used."""
        return self._transport.is_active()

    def is_alive(self, patience: float) -> bool:
        """Ask the host whether it is still there."""

        def ask() -> bool:
            self._transport.global_request("keepalive@openssh.com", wait=True)
            return self._transport.is_active()

        return self._within(patience, ask)[0] is True

    def transport(self) -> paramiko.Transport:
        """Give what connections to hosts behind this one go through."""
        return self._transport

    def close(self) -> None:
        """End the connection; workers go on."""
        self._transport.close()
        with contextlib.suppress(OSError):
            self._wire.close()

    def let_go(self) -> None:
        """Drop a forked child's copy without a word to the host."""
        if isinstance(self._wire, socket.socket):
            with contextlib.suppress(OSError):
                os.close(self._wire.detach())

    def _within(self, patience: float, ask: Callable[[], _Answer]) -> tuple[_Answer | None, str]:
        """Ask the host for something for which paramiko would wait for ever; else say what was wrong."""
        replies: queue.SimpleQueue[tuple[_Answer | None, str]] = queue.SimpleQueue()

        def run() -> None:
            try:
                replies.put((ask(), ""))
            except _FAULTS as error:
                replies.put((None, _said(error)))

        threading.Thread(target=run, daemon=True, name="rush-ssh-ask").start()
        try:
            return replies.get(timeout=patience)
        except queue.Empty:
            self.close()
            return None, f"no answer within {patience:g} s"

    def _session(self, deadline: float) -> paramiko.Channel:
        """Open a session; the host may still be busy with the end of the one before."""
        while True:
            left = deadline - time.monotonic()
            try:
                return self._transport.open_session(timeout=max(left, _PAUSE))
            except paramiko.ChannelException as error:
                if left <= 0:
                    raise LinkLost(f"host {self._target.name!r} opens no session: {error.text}") from error
                time.sleep(_PAUSE)


def _wire(settings: HostSettings, jump: Target | None, patience: float) -> Any:
    if jump is None:
        wire = socket.create_connection((settings.host, settings.port), timeout=patience)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return wire
    link = link_to(jump, patience)
    if not isinstance(link, ParamikoLink):
        raise BackendError(f"host {jump.name!r} is no way to another with client={jump.client!r}")
    place = (settings.host, settings.port)
    return link.transport().open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=patience)


def _greet(transport: paramiko.Transport, target: Target, settings: HostSettings, patience: float) -> None:
    """Agree on keys, and see to it that the host is the one that is known."""
    entries = known_hosts.read(settings.known_hosts)
    wanted = [k for kind in known_hosts.kinds(entries, settings.key_names) for k in _HOST_KEYS.get(kind, (kind,))]
    options = transport.get_security_options()
    offered = [kind for kind in options.key_types if "-cert-" not in kind]
    options.key_types = [k for k in dict.fromkeys([*wanted, *offered]) if k in offered]
    transport.banner_timeout = transport.auth_timeout = patience
    transport.start_client(timeout=patience)
    _check_host_key(target, settings, entries, transport.get_remote_server_key())


def _check_host_key(
    target: Target, settings: HostSettings, entries: list[known_hosts.Entry], shown: paramiko.PKey
) -> None:
    kind, key, name = shown.get_name(), shown.asbytes(), settings.key_names[0]
    verdict, place = known_hosts.judge(entries, settings.key_names, kind, key)
    words = f"{kind} {known_hosts.fingerprint(key)}"
    if verdict is Verdict.KNOWN:
        return
    if verdict is Verdict.REVOKED:
        raise BackendError(f"host {target.name!r} shows a key that is revoked in {place}: {words}")
    if verdict is Verdict.CHANGED:
        file = place.rpartition(":")[0]
        raise BackendError(
            f"host {target.name!r} shows another key than the one in {place}: {words}. Somebody may be listening in; "
            f"only if you know why the key has changed, run: ssh-keygen -R '{name}' -f '{file}'"
        )
    if settings.unknown_keys in {"accept-new", "false", "no", "off"} and settings.known_hosts:
        known_hosts.add(settings.known_hosts[0], name, kind, key, hashed=settings.hash_names)
        log.warning("host %r is new; its key was written to %s: %s", target.name, settings.known_hosts[0], words)
        return
    command = " ".join(["ssh", *(word for word in target.words() if word != "--")])
    raise BackendError(
        f"the key of host {target.name!r} is not known: {words}. "
        f"Compare it with what the host's owner says and, if it is the same, answer yes to: {command}"
    )


def _log_in(transport: paramiko.Transport, target: Target, settings: HostSettings) -> None:
    shown: list[str] = []
    locked: list[str] = []
    for name, key in _keys(settings, locked):
        shown.append(name)
        try:
            further = transport.auth_publickey(settings.user, key)
        except paramiko.BadAuthenticationType as error:
            further = error.allowed_types
        except paramiko.AuthenticationException:
            continue
        if not further:
            return
        raise BackendError(
            f"host {target.name!r} also asks for {', '.join(further)}; log in by hand over a connection that is shared "
            "(ControlMaster) and use client='openssh'"
        )
    advice = f"; encrypted, to be added to the agent: ssh-add {' '.join(locked)}" if locked else ""
    raise BackendError(
        f"host {target.name!r} does not let {settings.user!r} in; keys shown: {', '.join(shown) or 'none'}{advice}"
    )


def _keys(settings: HostSettings, locked: list[str]) -> Iterator[tuple[str, Any]]:
    """Give the agent's keys and those in files; the names of files that need a passphrase go into `locked`."""
    files = [path for path in settings.key_files if Path(path).is_file()]
    with contextlib.closing(_agent(settings.agent)) as agent:
        own = {_public(path) for path in settings.key_files}
        for key in agent.get_keys():
            if not settings.only_these_keys or key.asbytes() in own:
                yield f"agent's {key.get_name()} {key.comment}".rstrip(), key
    for path in files:
        try:
            yield path, paramiko.PKey.from_path(path)
        except (paramiko.PasswordRequiredException, TypeError):
            locked.append(path)
        except (paramiko.SSHException, UnknownKeyType, ValueError, OSError) as error:
            log.debug("key file %s is left out: %s", path, error)


class _AgentAt(AgentSSH):
    """The agent that listens on a socket; one without keys where nobody does, or where there is no socket."""

    def __init__(self, path: str | None) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if path is not None:
            with contextlib.suppress(*_FAULTS):
                self._socket.connect(path)
                self._connect(self._socket)  # type: ignore[attr-defined] # the stubs leave it out

    def close(self) -> None:
        self._socket.close()


def _agent(path: str | None) -> "paramiko.Agent | _AgentAt":
    return paramiko.Agent() if path == "" else _AgentAt(path)


def _public(path: str) -> bytes:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return base64.b64decode(Path(path.removesuffix(".pub") + ".pub").read_text().split()[1])
    return b""


def _join(channel: paramiko.Channel, place: Place) -> None:
    """Carry bytes both ways between a forwarded connection and the server, to the end of either."""
    with _closing(channel):
        try:
            peer = _dial(place)
        except OSError as error:
            log.debug("the server does not answer through the tunnel: %s", error)
            return
        with contextlib.closing(peer):
            back = threading.Thread(target=_carry, args=(channel, peer), daemon=True, name="rush-ssh-tunnel")
            back.start()
            _carry(peer, channel)
            back.join()


@contextlib.contextmanager
def _closing(channel: paramiko.Channel) -> Iterator[None]:
    """Close a channel at the end; one whose connection has broken cannot say good-bye."""
    try:
        yield
    finally:
        with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
            channel.close()


def _dial(place: Place) -> socket.socket:
    if isinstance(place, str):
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.connect(place)
        return peer
    peer = socket.create_connection(place, timeout=_DIAL)
    peer.settimeout(None)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def _carry(source: Any, sink: Any) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except _FAULTS:
        pass
    for end in (source, sink):
        with contextlib.suppress(*_FAULTS):
            end.shutdown(socket.SHUT_RDWR)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
