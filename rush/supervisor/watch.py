"""The heartbeat of a worker made by hand: a small process that beats for it, and notices its end."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time

import msgspec
import psutil

from rush.config import RedisConfig, child_environment
from rush.errors import RushError
from rush.model import Ending, StopKind
from rush.store import Beat, Store
from rush.supervisor.contact import Contact, Report

_OFF = b"off\n"
_DYING = 5.0


class Heartbeat:
    """The process that sends a worker's heartbeat; `pid` is its id."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid = process.pid

    def __repr__(self) -> str:
        state = "running" if self._process.poll() is None else "ended"
        return f"<Heartbeat pid={self.pid} {state}>"

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process.poll() is None

    def renew(self, incarnation: int) -> None:
        """Send the heartbeat under another incarnation from now on."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(f"{incarnation}\n".encode())
                self._process.stdin.flush()

    def close(self) -> None:
        """Stop the heartbeat."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(_OFF)
                self._process.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_heartbeat(
    store: Store, worker_id: str, incarnation: int, pid: int, period: float, expire: float
) -> Heartbeat:
    """Start the process; it ends when `pid` does, or when its `Heartbeat` is closed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rush.supervisor.watch"],
        stdin=subprocess.PIPE,
        env=child_environment(),
        start_new_session=True,
    )
    if process.stdin is None:
        raise RushError("a heartbeat without a standard input")
    start = [store.config.to_secret(), store.network_id, store.epoch, worker_id, incarnation, pid, period, expire]
    process.stdin.write(msgspec.msgpack.encode(start).hex().encode() + b"\n")
    process.stdin.flush()
    return Heartbeat(process)


class _Watch:
    """Beats for one process until that ends or the beat is called off."""

    def __init__(self, line: bytes) -> None:
        secret, network, epoch, self._worker, self._incarnation, pid, self._period, self._expire = (
            msgspec.msgpack.decode(bytes.fromhex(line.decode()))
        )
        self._contact = Contact(RedisConfig.from_secret(secret), network, f"watch-{self._worker}")
        self._contact.store.epoch = epoch
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process = psutil.Process(pid)

    def run(self) -> None:
        poller = select.poll()
        poller.register(0, select.POLLIN | select.POLLHUP)
        beat_at = 0.0
        while self._alive():
            now = time.monotonic()
            if now >= beat_at:
                beat_at = now + (min(1.0, self._period) if not self._beat() else self._period)
            if self._contact.scan_at is not None and now >= self._contact.scan_at and not self._contact.away:
                self._contact.scan()
            if poller.poll(max(10, min(500, (beat_at - now) * 1000))):
                line = os.read(0, 4096)
                if line.endswith(_OFF):
                    return
                if not line:
                    # Its descriptors are closed: it is dying, or others hold its name and nobody its heartbeat.
                    self._wait_for_death()
                    break
                self._incarnation = int(line.split()[-1])
                beat_at = 0.0
        self._contact.report(Report(self._worker, self._incarnation, Ending("its process ended", uses_try=True)))
        deadline = time.monotonic() + self._expire
        while self._contact.reports and time.monotonic() < deadline:
            time.sleep(0.2)
            self._contact.send_reports()

    def _wait_for_death(self) -> None:
        deadline = time.monotonic() + _DYING
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _alive(self) -> bool:
        if self._process is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        return False

    def _beat(self) -> bool:
        reply = self._contact.beat([Beat(self._worker, self._incarnation, self._expire)])
        if reply is None:
            return False
        if reply.stops.get(self._worker) is StopKind.KILL and self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        return True


def main() -> None:
    """Run the heartbeat's process."""
    line = bytearray()
    while (byte := os.read(0, 1)) and byte != b"\n":
        line += byte
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _Watch(bytes(line)).run()


if __name__ == "__main__":
    main()
