"""The zygote: imports what the loops need once, and forks them, so that they share memory and start in milliseconds."""

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import NoReturn

from rush.codec import Codec
from rush.supervisor.loop import Loop, load_loop, run_child
from rush.supervisor.messages import tell
from rush.supervisor.orders import Assignment
from rush.supervisor.platform import die_with_parent
from rush.supervisor.slots import Slots


class Zygote:
    """The supervisor's handle on its zygote."""

    def __init__(self, assignment: Assignment, slots: Slots, news: socket.socket) -> None:
        self._orders, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._orders.close()
            _main(assignment, slots, news, theirs, parent)
        theirs.close()

    def start(self, index: int) -> None:
        """Ask for a loop."""
        with contextlib.suppress(OSError):
            self._orders.sendall(index.to_bytes(4, "big"))

    def close(self) -> None:
        """Let the zygote go; it ends when it has no loops left."""
        self._orders.close()


def _main(assignment: Assignment, slots: Slots, news: socket.socket, orders: socket.socket, parent: int) -> NoReturn:
    code = 1
    try:
        die_with_parent(parent)
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        wakeup, ring = os.pipe()
        os.set_blocking(ring, False)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        loop = _load(assignment, news)
        if loop is not None:
            _serve(_Nursery(assignment, slots, news, loop), orders, wakeup)
            code = 0
    except BaseException:  # noqa: BLE001 - the last word of a process
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _load(assignment: Assignment, news: socket.socket) -> Loop | None:
    """Import and unpickle; what goes wrong is told, and ends all workers."""
    try:
        loop = load_loop(assignment.spec, Codec(assignment.config.signing_key))
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        tell(news, "unusable", reason=f"{type(error).__name__}: {error}"[:2000], tail=traceback.format_exc()[-8000:])
        return None
    gc.collect()
    gc.freeze()
    return loop


class _Nursery:
    """Starts loops and reaps them."""

    def __init__(self, assignment: Assignment, slots: Slots, news: socket.socket, loop: Loop) -> None:
        self._assignment = assignment
        self._slots = slots
        self._news = news
        self._loop = loop
        self.children: dict[int, int] = {}
        self._forks = assignment.spec.fork and not _cannot_fork()

    def start(self, index: int) -> None:
        parent = os.getpid()
        pid = self._spawn(index, parent) if not self._forks else os.fork()
        if pid == 0:
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run_child(self._assignment, index, self._slots, self._news, self._loop, parent)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self.children[pid] = index
        tell(self._news, "started", index=index, pid=pid)

    def reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            index = self.children.pop(pid, None)
            if index is not None:
                tell(self._news, "exited", index=index, pid=pid, code=os.waitstatus_to_exitcode(status))

    def _spawn(self, index: int, parent: int) -> int:
        start = {
            "assignment": self._assignment,
            "index": index,
            "parent": parent,
            "slots": self._slots.descriptor,
            "news": self._news.fileno(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "rush.supervisor.loop"],
            stdin=subprocess.PIPE,
            pass_fds=(self._slots.descriptor, self._news.fileno()),
        )
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(pickle.dumps(start))
                process.stdin.close()
        process.returncode = 0  # reaped by `reap`, not by subprocess
        return process.pid


def _serve(nursery: _Nursery, orders: socket.socket, wakeup: int) -> None:
    open_orders = True
    buffer = b""
    poller = select.poll()
    poller.register(orders, select.POLLIN)
    poller.register(wakeup, select.POLLIN)
    while open_orders or nursery.children:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if wakeup in ready:
            os.read(wakeup, 4096)
        if open_orders and orders.fileno() in ready:
            received = orders.recv(4096)
            if not received:
                open_orders = False
                poller.unregister(orders)
            buffer += received
            while len(buffer) >= 4:
                index, buffer = int.from_bytes(buffer[:4], "big"), buffer[4:]
                nursery.start(index)
        nursery.reap()


def _cannot_fork() -> bool:
    """Whether a module has started threads or an accelerator's runtime, neither of which survives a fork."""
    if threading.active_count() > 1:
        return True
    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.cuda.is_initialized())
