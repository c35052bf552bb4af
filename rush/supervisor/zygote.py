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
import tempfile
import threading
import traceback
from pathlib import Path
from typing import IO, NoReturn

from rush.backends.processes import tail_of
from rush.codec import Codec
from rush.store.scripts import read_scripts
from rush.supervisor.loop import Loop, load_loop, run_child
from rush.supervisor.messages import tell
from rush.supervisor.orders import Assignment
from rush.supervisor.platform import die_with_parent, outlive_parent, reap
from rush.supervisor.slots import Slots

_LEFT_TO_SUPERVISOR = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)


class Zygote:
    """The supervisor's handle on its zygote."""

    def __init__(self, assignment: Assignment, slots: Slots, news: socket.socket) -> None:
        self._stderr = f"{assignment.folder}/{assignment.supervisor_id}-zygote.err"
        self._orders, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._orders.close()
            _main(assignment, slots, news, theirs, parent, self._stderr)
        theirs.close()

    def start(self, index: int) -> None:
        """Ask for a loop."""
        with contextlib.suppress(OSError):
            self._orders.sendall(index.to_bytes(4, "big"))

    def ended(self) -> int | None:
        """Give its exit code, once, when it has ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def tail(self, lines: int) -> str:
        """Give the last lines that it, or a module that it imported, wrote to stderr."""
        return tail_of(self._stderr, lines)

    def close(self) -> None:
        """Close the line to it, and remove its file if there is nothing in it."""
        self._orders.close()
        with contextlib.suppress(OSError):
            if Path(self._stderr).stat().st_size == 0:
                Path(self._stderr).unlink()


def _main(
    assignment: Assignment, slots: Slots, news: socket.socket, orders: socket.socket, parent: int, stderr: str
) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        if sys.platform == "linux":  # elsewhere the end of `orders` tells, later
            die_with_parent(parent)
        _own_streams(stderr)
        for number in _LEFT_TO_SUPERVISOR:
            signal.signal(number, signal.SIG_IGN)
        nursery = _load(assignment, slots, news)
        if nursery is not None:
            outlive_parent()  # by as long as it takes to end the loops with all that they have started
            _serve(nursery, orders)
            nursery.end()
            code = 0
    except BaseException:  # noqa: BLE001 - the last word of a process
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _own_streams(stderr: str) -> None:
    """Let go of the manager's pipe, and keep what modules complain of apart from what the supervisor says."""
    for path, flags, descriptor in (
        (os.devnull, os.O_RDONLY, 0),
        (stderr, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 2),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)


def _load(assignment: Assignment, slots: Slots, news: socket.socket) -> "_Nursery | None":
    """Import and unpickle, if loops can be forked; what goes wrong is told, and ends all workers."""
    if not assignment.spec.fork:
        return _Nursery(assignment, slots, news, None)
    try:
        loop = load_loop(assignment.spec, Codec(assignment.config.signing_key))
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        tell(news, "unusable", reason=f"{type(error).__name__}: {error}"[:2000], tail=traceback.format_exc()[-8000:])
        return None
    _load_what_loops_need()
    gc.collect()
    gc.freeze()
    return _Nursery(assignment, slots, news, None if _cannot_fork() else loop)


def _load_what_loops_need() -> None:
    """Read and import now what each loop would read and import for itself."""
    read_scripts()
    if "pandas" in sys.modules:
        import rush.columns  # noqa: F401


class _Nursery:
    """Starts loops, by forking or, where none can be forked, in interpreters of their own; reaps them."""

    def __init__(self, assignment: Assignment, slots: Slots, news: socket.socket, loop: Loop | None) -> None:
        self._assignment = assignment
        self._slots = slots
        self._news = news
        self._loop = loop
        self._pickled: IO[bytes] | None = None
        self._children: dict[int, int] = {}

    def start(self, index: int) -> None:
        """Start a loop and say which process it is."""
        parent = os.getpid()
        pid = self._spawn(index, parent) if self._loop is None else os.fork()
        if pid == 0 and self._loop is not None:
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            run_child(self._assignment, index, self._slots, self._news, self._loop, parent)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._children[pid] = index
        tell(self._news, "started", index=index, pid=pid)

    def end(self) -> None:
        """Kill the loops that are left, with all that they have started."""
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def reap(self) -> None:
        """Say which loops have ended, and how."""
        for pid, index in list(self._children.items()):
            try:
                code = reap(pid)
            except ChildProcessError:
                code = 1  # a module of the user's has reaped it
            if code is not None:
                del self._children[pid]
                tell(self._news, "exited", index=index, pid=pid, code=code)

    def _spawn(self, index: int, parent: int) -> int:
        if self._pickled is None:
            self._pickled = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as there are loops to start
            pickle.dump(self._assignment, self._pickled)
            self._pickled.flush()
        memory, line = self._slots.descriptor, self._news.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "rush.supervisor.loop", *map(str, (index, parent, memory, line))],
            stdin=self._pickled,
            pass_fds=(memory, line),
            process_group=0,
        )
        process.returncode = 0  # reaped by `reap`, not by subprocess
        return process.pid


def _serve(nursery: _Nursery, orders: socket.socket) -> None:
    """Start what is ordered and reap what has ended, until the supervisor is gone."""
    wakeup, ring = os.pipe()
    for descriptor in (wakeup, ring):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    buffer = b""
    poller = select.poll()
    poller.register(orders, select.POLLIN)
    poller.register(wakeup, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)
        if orders.fileno() in ready:
            received = orders.recv(4096)
            if not received:
                return
            buffer += received
            while len(buffer) >= 4:
                index, buffer = int.from_bytes(buffer[:4], "big"), buffer[4:]
                nursery.start(index)
        nursery.reap()


def _cannot_fork() -> bool:
    """Whether a module has started threads or an accelerator's runtime, neither of which survives a fork."""
    if threading.active_count() > 1:
        return True
    with contextlib.suppress(OSError):
        opened = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
        if any(path.startswith("/dev/nvidia") for path in opened):
            return True
    torch = sys.modules.get("torch")
    return bool(torch is not None and torch.cuda.is_initialized())
