"""Optuna's ask and tell over its journal in the same server: two processes tell trials, a reader collects them.

The sampler is the random one and the trials have no parameters, so that the store is measured and nothing else.
"""

import contextlib
import multiprocessing
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalRedisBackend

from benchmarks.compare.system import WORKERS, System, processes

NAME = "compare-optuna"


@contextlib.contextmanager
def start(url: str) -> Iterator[System]:
    study = _study(url)
    orders: Any = multiprocessing.get_context("spawn").Queue()
    done: Any = multiprocessing.get_context("spawn").Queue()
    told = 0
    with processes(_work, url, orders, done):

        def many(n: int) -> None:
            nonlocal told
            for _ in range(WORKERS):
                orders.put(n // WORKERS)
            for _ in range(WORKERS):
                told += done.get(timeout=600)
            if (there := len(study.get_trials(deepcopy=False))) != told:
                raise RuntimeError(f"{there} trials are there, not {told}")

        def one() -> None:
            nonlocal told
            study.tell(study.ask(), 0.0)
            told += 1

        yield System(many, one)


def _study(url: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalRedisBackend(url))
    return optuna.create_study(
        storage=storage, study_name=NAME, load_if_exists=True, sampler=optuna.samplers.RandomSampler()
    )


def _work(url: str, orders: Any, done: Any) -> None:
    study = _study(url)
    while True:
        n = orders.get()
        for _ in range(n):
            study.tell(study.ask(), 0.0)
        done.put(n)
