"""executorlib on one machine: two workers that stay, rather than one process for each task."""

import contextlib
from collections.abc import Iterator

import executorlib

from benchmarks.compare.system import WORKERS, System, noop


@contextlib.contextmanager
def start(_url: str) -> Iterator[System]:
    with executorlib.SingleNodeExecutor(max_workers=WORKERS, block_allocation=True) as executor:

        def many(n: int) -> None:
            for future in [executor.submit(noop) for _ in range(n)]:
                future.result()

        yield System(many, lambda: executor.submit(noop).result())
