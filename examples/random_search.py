"""Random search: four workers look for the minimum of the Branin function, which is 0.3979."""

import math
import random

import rush


def branin(x1: float, x2: float) -> float:
    """Give the value of the Branin function; it has three minima."""
    a = x2 - 5.1 / (4 * math.pi**2) * x1**2 + 5 / math.pi * x1 - 6
    return a**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x1) + 10


def search(worker: rush.RushWorker, evaluations: int) -> None:
    """Draw, evaluate and share points until all workers together have enough."""
    while worker.n_finished_tasks < evaluations and not worker.terminated:
        xs = {"x1": random.uniform(-5, 10), "x2": random.uniform(0, 15)}
        (key,) = worker.push_running_tasks([xs])
        worker.finish_tasks([key], [{"y": branin(**xs)}])


def main(evaluations: int = 2000) -> None:
    """Start four workers and show the best points."""
    with rush.rsh() as net:
        workers = net.start_local_workers(search, n_workers=4, evaluations=evaluations)
        net.wait_for_workers(worker_ids=workers, timeout=60)
        while net.n_running_workers:
            net.fetch_new_tasks(timeout=1)
        finished = net.fetch_finished_tasks()
        print(finished.nsmallest(5, "y")[["x1", "x2", "y", "worker_id"]])
        print(finished.groupby("worker_id").size())
        net.reset()


if __name__ == "__main__":
    main()
