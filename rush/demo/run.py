"""A run of the demo: an initial design in the queue, workers, and everybody's results."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rush.demo.stopwatch import FIELD, cost_key, timed_loop
from rush.demo.summary import Summary, summarise
from rush.errors import RushError
from rush.manager import Rush, rsh

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, str], None]


def run(evaluations: int, n_workers: int, backend: str | None, on_progress: Progress) -> "tuple[pd.DataFrame, Summary]":
    """Tune the example's model.

    Parameters
    ----------
    evaluations
        How many configurations to try; a quarter of them are the initial design.
    n_workers
        How many workers.
    backend
        Where they run; None for this machine, where they end with this process.
    on_progress
        Called with the number of results and a remark: the best accuracy, or what workers wait for.

    Returns
    -------
    pandas.DataFrame
        The results, in the order of finishing.
    Summary
        What the run comes to.

    Raises
    ------
    RushError
        The workers ended before the work was done.
    """
    from rush.demo.bayesian_optimisation import random_configuration

    with rsh() as net:
        try:
            net.push_tasks([random_configuration() for _ in range(max(1, evaluations // 4))])
            workers = _start(net, evaluations, n_workers, backend)
            _await_one(net, workers, on_progress)
            _follow(net, evaluations, on_progress)
            finished = net.fetch_finished_tasks()
            if len(finished) < evaluations:
                raise RushError(f"the workers ended after {len(finished)} of {evaluations} evaluations: {_why(net)}")
            came = net.worker_ids
            costs = net.read_hashes([cost_key(worker) for worker in came], [FIELD])
            return finished, summarise(finished, came, [lap for cost in costs if cost for lap in cost[FIELD]])
        finally:
            net.reset()


def _start(net: Rush, evaluations: int, n_workers: int, backend: str | None) -> list[str]:
    if backend is None:
        return net.start_local_workers(timed_loop, n_workers=n_workers, modules=("pandas",), evaluations=evaluations)
    return net.start_workers(
        timed_loop, n_workers=n_workers, backend=backend, modules=("pandas",), evaluations=evaluations
    )


def _await_one(net: Rush, workers: list[str], on_progress: Progress) -> None:
    """Wait until one worker works; the others may still wait for a place when all is done."""
    while True:
        try:
            net.wait_for_workers(n=1, worker_ids=workers, timeout=2)
        except TimeoutError:
            on_progress(0, _why(net) or "workers are starting")
        else:
            return


def _follow(net: Rush, evaluations: int, on_progress: Progress) -> None:
    count, best = 0, 0.0
    working = True
    while working:
        working = net.n_running_workers > 0 or (count < evaluations and "pending" in set(net.worker_info["state"]))
        new = net.fetch_new_tasks(fields=("ys",), timeout=0.5 if working else 0)
        if not new.empty:
            count, best = count + len(new), max(best, float(new["accuracy"].max()))
            on_progress(count, f"best accuracy {best:.4f}")


def _why(net: Rush) -> str:
    return "; ".join(sorted({str(reason) for reason in net.worker_info["reason"].dropna()}))
