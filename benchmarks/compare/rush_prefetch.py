"""rush as a queue whose workers keep one request in flight."""

import contextlib
from collections.abc import Iterator

from benchmarks.compare import rush_queue
from benchmarks.compare.system import System


@contextlib.contextmanager
def start(url: str) -> Iterator[System]:
    with rush_queue.start(url, prefetch=1) as system:
        yield system
