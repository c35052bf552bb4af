"""Stands between a process and its private server: ends the server and removes its files when the process is gone.

Run as a program of its own, which imports nothing of rush. The first line of standard input says what to run; standard
input then stays open for as long as the process lives, and the kernel closes it however the process ends.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Start the server, wait for its end or that of the process above, and clean up after the latter."""
    order = json.loads(sys.stdin.buffer.readline())
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    server = _start(order)
    print(server.pid, flush=True)  # noqa: T201 - this line is what the process above waits for
    watched = [sys.stdin.fileno(), *_parent(order["parent"])]
    while server.poll() is None:
        ready, _, _ = select.select([wake, *watched], [], [])
        if wake in ready:
            os.read(wake, 512)
        if not set(ready).isdisjoint(watched):
            server.kill()
            server.wait()
            shutil.rmtree(order["folder"], ignore_errors=True)
            return 0
    return 1


def _start(order: dict[str, str]) -> "subprocess.Popen[bytes]":
    descriptor = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "wb") as log:
        server = subprocess.Popen(
            [order["program"], "-"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_guard,  # noqa: PLW1509 - this process has no threads
        )
    # A server that cannot run has closed its end already; its log says why.
    with contextlib.suppress(BrokenPipeError), server.stdin as stdin:  # type: ignore[union-attr]
        stdin.write(order["configuration"].encode())
    return server


def _die_with_guard() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _parent(pid: int) -> list[int]:
    """Give a descriptor that becomes readable when the process above ends, where the kernel has such a thing.

    Children that it forked may hold standard input open beyond its end.
    """
    if sys.platform != "linux":
        return []
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        if os.getppid() == pid:
            return [descriptor]
    return []


if __name__ == "__main__":
    sys.exit(main())
