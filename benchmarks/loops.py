"""The loops that workers run, apart from all that the benchmark imports for itself: a worker's start counts."""

import random
import time

from rush import RushWorker


def idle(worker: RushWorker) -> None:
    """Do nothing until told to stop."""
    while not worker.terminated:
        time.sleep(1.0)


def work_off(worker: RushWorker, prefetch: int, signal: str) -> None:
    """Wait for the signal, work off the queue, and leave behind when it was empty."""
    while (begin := worker.read_hash(signal, ["at"])) is None:
        time.sleep(0.01)
    time.sleep(max(0.0, begin["at"] - time.monotonic()))
    for task in worker.tasks(prefetch=prefetch, timeout=0):
        task.finish({"y": task.xs["x"]})
    worker.write_hashes(keys=[f"{worker.worker_id}-ended"], at=[time.monotonic()])


def finish_now_and_then(worker: RushWorker) -> None:
    """Finish a task every hundredth of a second or so; its result is when."""
    while not worker.terminated:
        (key,) = worker.push_running_tasks([{"x": 0.5}])
        time.sleep(random.uniform(0.005, 0.015))
        worker.finish_tasks([key], [{"at": time.monotonic()}])
