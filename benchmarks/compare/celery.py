"""Celery on the same server, as broker and for results: one worker with two prefork processes."""

import contextlib
from collections.abc import Iterator

from celery import Celery

from benchmarks.compare.system import WORKERS, System, noop, processes


@contextlib.contextmanager
def start(url: str) -> Iterator[System]:
    with processes(_work, url, count=1):
        task = _app(url).tasks["noop"]

        def many(n: int) -> None:
            for result in [task.delay() for _ in range(n)]:
                result.get(timeout=60)

        yield System(many, lambda: task.delay().get(timeout=60))


def _app(url: str) -> Celery:
    app = Celery("compare", broker=url, backend=url)
    app.conf.broker_connection_retry_on_startup = True
    app.task(noop, name="noop")
    app.finalize()
    return app


def _work(url: str) -> None:
    _app(url).worker_main(["worker", f"--concurrency={WORKERS}", "--loglevel=ERROR"])
