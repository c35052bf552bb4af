"""Random search on the Branin function: every worker draws a point, evaluates it, and shares the result."""

import math
import random

import rush


def branin(x1: float, x2: float) -> float:
    """Give a function of two inputs with three minima of 0.3979 (Dixon and Szegő, 1978)."""
    b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
    return (x2 - b * x1**2 + c * x1 - 6) ** 2 + 10 * (1 - t) * math.cos(x1) + 10


def search(worker: rush.RushWorker, evaluations: int) -> None:
    while worker.n_finished_tasks < evaluations and not worker.terminated:
        xs = {"x1": random.uniform(-5, 10), "x2": random.uniform(0, 15)}
        (key,) = worker.push_running_tasks([xs])
        worker.finish_tasks([key], [{"y": branin(**xs)}])


def main() -> None:
    with rush.rsh("random-search") as net:
        workers = net.start_workers(search, n_workers=4, evaluations=500)
        net.wait_for_workers(worker_ids=workers, timeout=30)
        while net.n_running_workers:
            net.fetch_new_tasks(timeout=1)
        print(net.fetch_finished_tasks().sort_values("y").head())
        net.reset()


if __name__ == "__main__":
    main()
