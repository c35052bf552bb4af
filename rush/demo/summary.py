"""What a run of the demo comes to: the best configurations, who did what, and where the time went."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BEST = 5
COLUMNS = ("accuracy", "components", "C", "gamma", "worker")


@dataclass(frozen=True)
class Summary:
    """A run in figures.

    Attributes
    ----------
    best
        The best configurations, by `COLUMNS`.
    tasks_per_worker
        How many tasks each worker did.
    seconds
        From the first evaluation's start to the last one's end.
    utilisation
        The share of the workers' time in between that they spent evaluating.
    cost_per_task
        Seconds of processor time that a worker spends in calls of rush for a task: the median. Waits for a core that
        somebody else evaluates on are not in it.
    """

    best: list[dict[str, Any]]
    tasks_per_worker: dict[str, int]
    evaluations: int
    seconds: float
    utilisation: float
    cost_per_task: float


def summarise(finished: "pd.DataFrame", workers: Sequence[str], laps: Sequence[float]) -> Summary:
    """Make the summary of the finished tasks, at least one, and the seconds that rush took for each."""
    counts = finished["worker_id"].value_counts()
    seconds = float(finished["end"].max() - finished["start"].min())
    evaluating = float((finished["end"] - finished["start"]).sum())
    return Summary(
        best=[_configuration(row) for row in finished.nlargest(BEST, "accuracy").to_dict("records")],
        tasks_per_worker={worker: int(counts.get(worker, 0)) for worker in workers},
        evaluations=len(finished),
        seconds=seconds,
        utilisation=evaluating / (seconds * len(workers)),
        cost_per_task=statistics.median(laps) if laps else 0.0,
    )


def _configuration(row: dict[Any, Any]) -> dict[str, Any]:
    return {
        "accuracy": round(float(row["accuracy"]), 4),
        "components": int(row["components"]),
        "C": float(f"{10 ** row['log_c']:.3g}"),
        "gamma": float(f"{10 ** row['log_gamma']:.3g}"),
        "worker": row["worker_id"],
    }
