"""RQ on the same server: two of its default workers, which fork for each job."""

import contextlib
from collections.abc import Iterator

import redis
import rq

from benchmarks.compare.system import System, noop, processes

NAME = "compare-rq"


@contextlib.contextmanager
def start(url: str) -> Iterator[System]:
    with contextlib.closing(redis.Redis.from_url(url)) as client, processes(_work, url):
        queue = rq.Queue(NAME, connection=client)

        def collect(jobs: list[rq.job.Job]) -> None:
            for job in jobs:
                result = job.latest_result(timeout=60)
                if result is None or result.type is not result.Type.SUCCESSFUL:
                    raise RuntimeError(f"job {job.id} has no result")

        yield System(
            lambda n: collect([queue.enqueue(noop) for _ in range(n)]),
            lambda: collect([queue.enqueue(noop)]),
        )


def _work(url: str) -> None:
    rq.Worker([NAME], connection=redis.Redis.from_url(url)).work(logging_level="ERROR")
