"""Networks whose workers are jobs: backends for this very rush, and a loop."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rush import RushWorker
from rush.backends.jobs.system import JobSystem
from rush.backends.registry import backend_class


def make_backend(name: str, folder: Path) -> Callable[..., JobSystem]:
    """Make backends whose jobs run this very interpreter and this very rush."""
    source = f"export PYTHONPATH={Path.cwd()}:$PYTHONPATH"
    given = {"folder": str(folder), "python": sys.executable}

    def make(*, setup: Sequence[str] = (), **options: object) -> JobSystem:
        return backend_class(name)(**{**given, "setup": [source, *setup], **options})

    return make


def square(worker: RushWorker, nap: float = 0.0) -> None:
    """Square what is queued, until told to stop."""
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None:
            time.sleep(nap)
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2}])
