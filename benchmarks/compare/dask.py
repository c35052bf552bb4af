"""Dask's distributed scheduler with two worker processes of one thread."""

import contextlib
from collections.abc import Iterator

import distributed

from benchmarks.compare.system import WORKERS, System


@contextlib.contextmanager
def start(_url: str) -> Iterator[System]:
    with (
        distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield System(
            lambda n: client.gather(client.map(_noop, range(n), pure=False)),
            lambda: client.submit(_noop, 0, pure=False).result(),
        )


def _noop(_: int) -> None:
    pass
