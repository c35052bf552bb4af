"""The standard library's `ProcessPoolExecutor`: no server, one machine."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from benchmarks.compare.system import WORKERS, System, noop


@contextlib.contextmanager
def start(_url: str) -> Iterator[System]:
    with ProcessPoolExecutor(WORKERS) as executor:

        def many(n: int) -> None:
            for future in [executor.submit(noop) for _ in range(n)]:
                future.result()

        yield System(many, lambda: executor.submit(noop).result())
