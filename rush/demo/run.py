"""A run of the demo: an initial design in the queue, workers, and everybody's results."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rush.demo.stopwatch import FIELD, cost_key, timed_loop
from rush.demo.summary import Summary, summarise
from rush.errors import RushError
from rush.manager import Rush, rsh

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, float], None]


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
        Called with the number of results and the best accuracy when there are new ones.

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
            net.wait_for_workers(worker_ids=workers)
            _follow(net, on_progress)
            finished = net.fetch_finished_tasks()
            if len(finished) < evaluations:
                raise RushError(f"the workers ended after {len(finished)} of {evaluations} evaluations: {_why(net)}")
            costs = net.read_hashes([cost_key(worker) for worker in workers], [FIELD])
            return finished, summarise(finished, workers, [lap for cost in costs if cost for lap in cost[FIELD]])
        finally:
            net.reset()


def _start(net: Rush, evaluations: int, n_workers: int, backend: str | None) -> list[str]:
    if backend is None:
        return net.start_local_workers(timed_loop, n_workers=n_workers, modules=("pandas",), evaluations=evaluations)
    return net.start_workers(
        timed_loop, n_workers=n_workers, backend=backend, modules=("pandas",), evaluations=evaluations
    )


def _follow(net: Rush, on_progress: Progress) -> None:
    count, best = 0, 0.0
    working = True
    while working:
        working = net.n_running_workers > 0
        new = net.fetch_new_tasks(fields=("ys",), timeout=0.5 if working else 0)
        if not new.empty:
            count, best = count + len(new), max(best, float(new["accuracy"].max()))
            on_progress(count, best)


def _why(net: Rush) -> str:
    return "; ".join(sorted({str(reason) for reason in net.worker_info["reason"]}))
