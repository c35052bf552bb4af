"""rush as a queue: a manager pushes tasks, workers iterate over them, the manager reads the results."""

import contextlib
import dataclasses
import secrets
from collections.abc import Iterator

import rush
from benchmarks.compare.system import WORKERS, System


@contextlib.contextmanager
def start(url: str, prefetch: int = 0) -> Iterator[System]:
    net = rush.Rush("compare-queue", signing(url))
    workers = net.start_local_workers(_work, n_workers=WORKERS, prefetch=prefetch)
    net.wait_for_workers(worker_ids=workers, timeout=30)

    def many(n: int) -> None:
        net.push_tasks([{}] * n)
        while n:
            n -= len(net.fetch_new_tasks(timeout=60))

    def one() -> None:
        net.push_tasks([{}])
        if len(net.fetch_new_tasks(timeout=60)) != 1:
            raise RuntimeError("the task did not come back")

    try:
        yield System(many, one)
    finally:
        net.reset()


def _work(worker: rush.RushWorker, prefetch: int) -> None:
    for task in worker.tasks(prefetch=prefetch, timeout=None):
        task.finish({})


def signing(url: str) -> rush.RedisConfig:
    """Give the server with a key for signing worker loops that nobody keeps."""
    return dataclasses.replace(rush.RedisConfig.from_url(url), signing_key=secrets.token_bytes(32))
