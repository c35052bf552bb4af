"""What rush itself costs a worker: the processor time that its loop spends in calls of rush."""

import functools
import time
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rush.worker import RushWorker

FIELD = "laps"


class Stopwatch:
    """Stands in for a worker and adds up what its properties and methods cost, from one result to the next."""

    def __init__(self, worker: "RushWorker") -> None:
        self._worker = worker
        self.laps: list[float] = []
        self._seconds = 0.0

    def finish_tasks(self, *args: Any) -> list[str]:
        """Finish tasks, and begin the next lap."""
        moved: list[str] = self._timed(self._worker.finish_tasks, *args)
        self.laps.append(self._seconds)
        self._seconds = 0.0
        return moved

    def __getattr__(self, name: str) -> Any:
        value = self._timed(getattr, self._worker, name)
        return functools.partial(self._timed, value) if callable(value) else value

    def _timed(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            self._seconds += time.thread_time() - start


def timed_loop(worker: "RushWorker", evaluations: int) -> None:
    """Run the example's loop and leave the seconds that rush took for each task, under `cost_key`."""
    from rush.demo.bayesian_optimisation import optimise

    watch = Stopwatch(worker)
    optimise(cast("RushWorker", watch), evaluations)
    worker.write_hashes(keys=[cost_key(worker.worker_id)], values={FIELD: [watch.laps]})


def cost_key(worker_id: str) -> str:
    """Name the hash in which a worker leaves what rush cost it."""
    return f"cost-{worker_id}"
