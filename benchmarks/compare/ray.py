"""Ray on one machine, with two processors to give."""

import contextlib
import os
from collections.abc import Iterator

import ray

from benchmarks.compare.system import WORKERS, System, noop


@contextlib.contextmanager
def start(_url: str) -> Iterator[System]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
    remote = ray.remote(noop)
    try:
        yield System(lambda n: ray.get([remote.remote() for _ in range(n)]), lambda: ray.get(remote.remote()))
    finally:
        ray.shutdown()
