"""Connections to hosts by the system's own ``ssh``, with all that the user has configured for it."""

import contextlib
import os
import re
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from rush.backends.ssh.config import Target
from rush.backends.ssh.links import BOOT, Answer, Forwarding, LinkLost, Place
from rush.backends.ssh.scripts import answers, with_processes
from rush.config import child_environment
from rush.errors import BackendError

_OWN_ERROR = 255
_FORWARDED = re.compile(rb"Allocated port (\d+) for remote forward")
_WATCHED = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
_TUNNEL = ("-o", "ExitOnForwardFailure=yes", "-o", "LogLevel=VERBOSE", *_WATCHED)
_READY, _THERE = b"ready", b"there"
_LAST_WORDS = 400


def connect(target: Target, patience: float) -> "OpenSSHLink":
    """Log in to a host, over the user's own shared connection if there is one.

    Raises
    ------
    BackendError
        ``ssh`` is not installed, or does not get in without asking.
    """
    if shutil.which("ssh") is None:
        raise BackendError("the program ssh is not installed here; use client='paramiko'")
    link = OpenSSHLink(target)
    link.run(b":", b"", patience)
    return link


class OpenSSHLink:
    """Runs ``ssh`` once for each script, and once for a tunnel; whether they share a connection the user decides."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tunnel: subprocess.Popen[bytes] | None = None
        self._forwarded: list[str] = []

    def run(self, script: bytes, data: bytes, patience: float) -> Answer:
        """Run a script whose standard input is `data`."""
        with tempfile.TemporaryFile() as errors:
            process = self._start([], script, patience, errors)
            try:
                output, _ = process.communicate(script + data, timeout=patience)
            except subprocess.TimeoutExpired as error:
                raise LinkLost(f"host {self._target.name!r} did not answer ssh within {patience:g} s") from error
            finally:
                _end(process)
            if process.returncode == _OWN_ERROR:
                raise LinkLost(self._complaint(_said(errors)))
            return Answer(process.returncode, output, _said(errors))

    def forward(self, port: int, place: Place, patience: float) -> Forwarding:
        """Carry what comes to a port of the host's loopback to a place that is reached from here."""
        where = place if isinstance(place, str) else f"{f'[{place[0]}]' if ':' in place[0] else place[0]}:{place[1]}"
        self._end_tunnel()
        script = with_processes("tunnel")
        with tempfile.TemporaryFile() as errors:
            process = self._start([*_TUNNEL, "-R", f"127.0.0.1:{port}:{where}"], script, patience, errors)
            self._tunnel = process
            heard = self._say(script + _READY + b"\n", _READY, patience)
            if heard is None:
                self._end_tunnel()
                raise BackendError(
                    f"host {self._target.name!r} does not forward port {port or 'any'}: {_said(errors) or 'no answer'}"
                )
            errors.seek(0)
            found = _FORWARDED.search(errors.read())
        opened = port or int(found[1] if found else 0)
        self._forwarded = ["-R", f"127.0.0.1:{port}:{where}"]
        return Forwarding(opened, answers(heard)[0])

    def is_open(self) -> bool:
        """Say whether it can be used."""
        return self._tunnel is None or self._tunnel.poll() is None

    def is_alive(self, patience: float) -> bool:
        """Ask the host whether it is still there."""
        return self._tunnel is not None and self._say(_THERE + b"\n", _THERE, patience) is not None

    def close(self) -> None:
        """End a tunnel, also where the user's shared connection has it; that connection stays."""
        self._end_tunnel()
        if self._forwarded:
            argv = ["ssh", "-O", "cancel", *self._forwarded, *self._target.words()]
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(argv, env=child_environment(), capture_output=True, timeout=5, check=False)
            self._forwarded = []

    def let_go(self) -> None:
        """Drop a forked child's copies of the pipes, or the tunnel would outlive its process."""
        process, self._tunnel = self._tunnel, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        os.close(pipe.fileno())
            process.returncode = 0  # no child of this process

    def _start(
        self, options: Sequence[str], script: bytes, patience: float, errors: IO[bytes]
    ) -> "subprocess.Popen[bytes]":
        quiet = ["-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(patience))}"]
        argv = ["ssh", *quiet, *options, *self._target.words(), BOOT.format(len(script))]
        # A connection that it opens for others may hold on to its stderr, so that must not be a pipe.
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            env=child_environment(),
            start_new_session=True,
        )

    def _say(self, words: bytes, echo: bytes, patience: float) -> bytes | None:
        """Say something to the script beside the tunnel, and wait until it comes back; None if it does not."""
        process = self._tunnel
        if process is None or process.stdin is None or process.stdout is None:
            return None
        deadline = time.monotonic() + patience
        heard = b""
        try:
            process.stdin.write(words)
            while echo not in heard:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                    return None
                piece = os.read(process.stdout.fileno(), 4096)
                if not piece:
                    return None
                heard += piece
        except OSError:
            return None
        return heard

    def _end_tunnel(self) -> None:
        process, self._tunnel = self._tunnel, None
        if process is not None:
            _end(process)

    def _complaint(self, words: str) -> str:
        by_hand = " ".join(["ssh", *(word for word in self._target.words() if word != "--")])
        return f"ssh does not reach host {self._target.name!r}: {words}; what it asks for, it asks by hand: {by_hand}"


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _said(errors: IO[bytes]) -> str:
    errors.seek(0)
    return " ".join(errors.read().decode(errors="replace").split())[-_LAST_WORDS:]
