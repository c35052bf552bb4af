"""rush as it is meant: each worker makes its own tasks and finishes them; a reader collects everybody's results."""

import contextlib
import time
from collections.abc import Iterator

import rush
from benchmarks.compare.rush_queue import signing
from benchmarks.compare.system import WORKERS, System


@contextlib.contextmanager
def start(url: str) -> Iterator[System]:
    net = rush.Rush("compare-loops", signing(url))
    worker = rush.RushWorker("compare-loops", net.config)
    workers = net.start_local_workers(_work, n_workers=WORKERS)
    net.wait_for_workers(worker_ids=workers, timeout=30)

    def many(n: int) -> None:
        share = n // WORKERS
        for name in workers:
            net.write_hashes(keys=[name], todo=[share])
        left = share * WORKERS
        while left:
            left -= len(net.fetch_new_tasks(timeout=60))

    def one() -> None:
        (key,) = worker.push_running_tasks([{}])
        worker.finish_tasks([key], [{}])
        net.fetch_new_tasks()

    try:
        yield System(many, one)
    finally:
        worker.set_terminated()
        net.reset()


def _work(worker: rush.RushWorker) -> None:
    while not worker.terminated:
        order = worker.read_hash(worker.worker_id, ["todo"])
        if order is None or not order["todo"]:
            time.sleep(0.002)
            continue
        worker.write_hashes(keys=[worker.worker_id], todo=[0])
        for _ in range(order["todo"]):
            (key,) = worker.push_running_tasks([{}])
            worker.finish_tasks([key], [{}])
