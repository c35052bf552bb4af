"""dramatiq on the same server, with results there: two worker processes with its usual number of threads."""

import contextlib
import threading
from collections.abc import Iterator

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.compare.system import System, noop, processes


@contextlib.contextmanager
def start(url: str) -> Iterator[System]:
    _, actor = _setup(url)
    with processes(_work, url):

        def many(n: int) -> None:
            for message in [actor.send() for _ in range(n)]:
                message.get_result(block=True, timeout=60_000)

        yield System(many, lambda: actor.send().get_result(block=True, timeout=60_000))


def _setup(url: str) -> tuple[RedisBroker, dramatiq.Actor]:
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url), store_results=True))
    dramatiq.set_broker(broker)
    return broker, dramatiq.actor(noop, queue_name="compare-dramatiq")


def _work(url: str) -> None:
    broker, _ = _setup(url)
    dramatiq.Worker(broker).start()
    threading.Event().wait()
