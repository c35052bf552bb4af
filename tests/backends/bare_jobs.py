"""Jobs without a network: small programs that a job system runs in the place of workers."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rush.backends.jobs.system import JobSystem
from rush.model import Placement, PlacementState, WorkerCommand

SECRET = b"correct-horse-battery"
SLEEP = "import time; print('ready', flush=True); time.sleep(120)"
DRAIN = """
import signal, sys, time
def drain(*_):
    print("drained", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
print("ready", flush=True)
time.sleep(120)
"""


@contextmanager
def backends(kind: type[JobSystem], folder: Path) -> Iterator[Callable[..., JobSystem]]:
    """Make backends, and stop in the end what `start` has placed with them."""
    made: list[JobSystem] = []

    def make(**options: object) -> JobSystem:
        backend = kind(folder=str(folder), python=sys.executable, **options)
        backend.placed = []
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.stop(backend.placed, kill=True)


def start(backend: JobSystem, code: str, n: int = 1) -> list[Placement]:
    """Place programs, which get their numbers as argument."""
    commands = [WorkerCommand("net", (f"w{i}",), ("-c", code, str(i)), SECRET) for i in range(n)]
    placed = backend.start(commands)
    backend.placed += placed
    return placed


def state(backend: JobSystem, placement: Placement) -> PlacementState:
    """Give a placement's state."""
    return backend.poll([placement])[placement.id].state


def reason(backend: JobSystem, placement: Placement) -> str:
    """Give the reason of a placement's state."""
    return backend.poll([placement])[placement.id].reason


def output(placement: Placement) -> str:
    """Give what a program has printed; '' where it has not begun."""
    path = Path(placement.stdout)
    return path.read_text() if path.exists() else ""
