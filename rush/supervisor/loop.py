"""A loop's process: what is done before and after the user's function."""

import contextlib
import faulthandler
import logging
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from rush.codec import Codec
from rush.errors import ConfigError, RushError
from rush.model import LoopSpec
from rush.supervisor.contact import patience
from rush.supervisor.link import Link
from rush.supervisor.messages import tell
from rush.supervisor.orders import Assignment
from rush.supervisor.platform import die_with_parent, offer_to_die_first
from rush.supervisor.slots import Slots

Loop = tuple[Callable[..., Any], Mapping[str, Any]]
_OBJECT = b"rush-object\0"
_DEVICE_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


def load_loop(spec: LoopSpec, codec: Codec) -> Loop:
    """Import the modules that a loop wants and unpickle it."""
    import importlib

    for module in spec.modules:
        importlib.import_module(module)
    if spec.body.startswith(_OBJECT):
        loaded = codec.load_object(spec.body)
    else:
        from rush.objects import load_large_object

        loaded = load_large_object(codec.decode(spec.body), codec=codec)
    function, arguments = loaded
    return function, arguments


def check_versions(spec: LoopSpec) -> str | None:
    """Say why a loop does not fit this interpreter, or None."""
    import platform

    from rush.manager.loops import rush_version

    for what, theirs, ours in (("Python", spec.python, platform.python_version()), ("rush", spec.rush, rush_version())):
        if theirs and _series(theirs) != _series(ours):
            needed = _series(theirs)
            return f"the worker runs {what} {ours}, but the process that started it {what} {theirs}; both need {needed}"
    return None


def _series(version: str) -> str:
    return ".".join(version.split(".")[:2])


def run_child(
    assignment: Assignment, index: int, slots: Slots, news: socket.socket, loop: Loop, parent: int
) -> NoReturn:
    """Be the loop's process, from its birth to its end."""
    code = 1
    try:
        if slots.barred(index):
            os._exit(0)
        die_with_parent(parent)
        code = _run(assignment, index, slots, news, loop)
    except SystemExit as leaving:
        code = _exit_code(leaving, news, index)
    except BaseException as error:  # noqa: BLE001 - the last word of a process
        traceback.print_exc()
        name = type(error).__name__
        tell(news, "error", index=index, reason=f"{name}: {error}"[:2000] if str(error) else name)
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def _exit_code(leaving: SystemExit, news: socket.socket, index: int) -> int:
    if leaving.code is None or leaving.code == 0:
        tell(news, "returned", index=index)
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)  # noqa: T201 - what Python does with it
    tell(news, "error", index=index, reason=f"SystemExit: {leaving.code}"[:2000])
    return 1


def _run(assignment: Assignment, index: int, slots: Slots, news: socket.socket, loop: Loop) -> int:
    from rush import logs
    from rush.worker import RushWorker

    spec = assignment.spec
    worker_id = assignment.worker_ids[index]
    _redirect(assignment, worker_id)
    _hand_on_signals(news, index)
    faulthandler.enable()
    offer_to_die_first()
    reseed()
    _share_devices(spec, index)
    link = Link(
        slots,
        index,
        news,
        token=f"{assignment.token}-{index}",
        supervisor_id=assignment.supervisor_id,
        backend=spec.backend,
        ends_at=assignment.ends_at,
    )
    if spec.log_levels:
        logs.install(assignment.config, assignment.network_id, worker_id, spec.log_levels, spec.log_buffer_size)
    config = replace(assignment.config, retry_timeout=patience(assignment.config))
    worker = RushWorker(
        assignment.network_id, config, worker_id, spec.heartbeat_period, spec.heartbeat_expire, _link=link
    )
    function, arguments = loop
    function(worker, **arguments)
    tell(news, "returned", index=index)
    with contextlib.suppress(RushError):
        worker.set_terminated()
        tell(news, "known", index=index)
    return 0


def _hand_on_signals(news: socket.socket, index: int) -> None:
    """Leave the wish to stop to the supervisor: job systems signal every process, and loops are to drain.

    Processes that the loop forks get the usual handlers back: whoever terminates them means them.
    """

    def hand_on(number: int, _frame: object) -> None:
        tell(news, "signal", index=index, number=number)

    def restore() -> None:
        for number in _SIGNALS:
            if signal.getsignal(number) is hand_on:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    for number in _SIGNALS:
        signal.signal(number, hand_on)
    os.register_at_fork(after_in_child=restore)


def _redirect(assignment: Assignment, worker_id: str) -> None:
    """Send stdout and stderr to the worker's files."""
    spec = assignment.spec
    paths = assignment.output_paths(worker_id)
    for name, folder in (("output_log", spec.output_log), ("message_log", spec.message_log)):
        if folder is not None and not os.path.isdir(folder):  # noqa: PTH112 - plain check
            raise ConfigError(f"{name} must be a folder that exists on the worker's host, got {folder!r}")
    for stream, descriptor, path in ((sys.stdout, 1, paths[0]), (sys.stderr, 2, paths[1])):
        stream.flush()
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if spec.output_log:
        print(f"output log of worker {worker_id}")  # noqa: T201 - the file's first line
    if spec.message_log:
        print(f"message log of worker {worker_id}", file=sys.stderr)  # noqa: T201 - the file's first line


def reseed() -> None:
    """Give the loop random numbers of its own: forked processes otherwise draw the same."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.seed()


def _share_devices(spec: LoopSpec, index: int) -> None:
    """Give the loop its own accelerators among those that are visible."""
    if spec.gpus_per_worker < 1:
        return
    from rush.config import set_visible_devices, visible_devices

    first = index * spec.gpus_per_worker
    devices = visible_devices()
    if devices is None:
        own = [str(number) for number in range(first, first + spec.gpus_per_worker)]
    else:
        own = list(devices[first : first + spec.gpus_per_worker])
        if len(own) < spec.gpus_per_worker:
            raise ConfigError(
                f"worker {index + 1} of this supervisor needs {spec.gpus_per_worker} device(s), "
                f"but only {len(devices)} are visible here: {', '.join(devices)}"
            )
    set_visible_devices(own)


def main() -> None:
    """Run a loop in an interpreter of its own, for what cannot be forked."""
    import pickle

    index, parent, memory, line = map(int, sys.argv[1:])
    die_with_parent(parent)
    assignment: Assignment = pickle.loads(_standard_input())  # noqa: S301 - from the zygote, on an inherited file
    slots = Slots(len(assignment.worker_ids), memory)
    news = socket.socket(fileno=line)
    loop: Loop
    try:
        loop = load_loop(assignment.spec, Codec(assignment.config.signing_key))
    except BaseException as error:
        _redirect(assignment, assignment.worker_ids[index])
        tell(news, "error", index=index, reason=f"{type(error).__name__}: {error}"[:2000])
        raise
    run_child(assignment, index, slots, news, loop, parent)


def _standard_input() -> bytes:
    """Read the file at standard input from its beginning, wherever others have read to, and leave nothing there."""
    size, content = os.fstat(0).st_size, bytearray()
    while len(content) < size:
        content += os.pread(0, size - len(content), len(content))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return bytes(content)


if __name__ == "__main__":
    main()
