"""The picture of a run: how the best score grew, and what each worker did when."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#7F7F7F")
TICKS = (0.1, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
INK = "#333333"
SCORES_SHARE = 2.4


def draw(finished: "pd.DataFrame", path: Path) -> None:
    """Draw a run into a PNG file."""
    from matplotlib.figure import Figure

    origin = finished["start"].min()
    tasks = finished.assign(start=finished["start"] - origin, end=finished["end"] - origin).sort_values("end")
    workers = list(dict.fromkeys(tasks.sort_values("start")["worker_id"]))
    colours = {worker: COLOURS[at % len(COLOURS)] for at, worker in enumerate(workers)}
    height = 5.2 + 0.3 * len(workers)
    figure = Figure(figsize=(10, height), layout="constrained")
    scores, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(SCORES_SHARE, 0.4 + 0.2 * len(workers)))
    _draw_scores(scores, tasks, colours)
    _draw_lanes(lanes, tasks, colours)
    figure.savefig(path, dpi=150, format="png")


def _draw_scores(axes: Any, tasks: "pd.DataFrame", colours: dict[str, str]) -> None:
    for worker, colour in colours.items():
        own = tasks[tasks["worker_id"] == worker]
        axes.scatter(own["end"], own["accuracy"], color=colour, s=26, alpha=0.85, linewidth=0, zorder=3)
    best = tasks["accuracy"].cummax()
    axes.step(tasks["end"], best, where="post", color=INK, linewidth=1.8, zorder=2)
    top = float(best.iloc[-1])
    axes.annotate(
        *(f"best {top:.4f}", (float(tasks["end"].iloc[-1]), top)),
        xytext=(0, 7),
        textcoords="offset points",
        ha="right",
        color=INK,
        weight="bold",
    )
    axes.set_yscale("function", functions=(_stretch, _shrink))
    lowest = float(tasks["accuracy"].min())
    shown = [tick for tick in TICKS if lowest - 0.02 <= tick <= top]
    axes.set_yticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_ylim(max(0.0, lowest - 0.05), 1 - (1 - top) * 0.7)
    axes.set_ylabel("accuracy in cross-validation")
    axes.set_title("Every configuration tried, and the best so far", loc="left", color=INK, weight="bold")
    _plain(axes)


def _draw_lanes(axes: Any, tasks: "pd.DataFrame", colours: dict[str, str]) -> None:
    for lane, (worker, colour) in enumerate(colours.items()):
        own = tasks[tasks["worker_id"] == worker]
        bars = list(zip(own["start"], own["end"] - own["start"], strict=True))
        axes.broken_barh(bars, (lane - 0.36, 0.72), facecolor=colour, edgecolor="white", linewidth=0.6)
    axes.set_yticks(range(len(colours)), [worker.rpartition("_")[0] or worker for worker in colours])
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.set_title("When each worker was evaluating", loc="left", color=INK, weight="bold")
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)


def _stretch(accuracy: Any) -> Any:
    """Give the good scores, which differ in the third digit, the room they need."""
    import numpy as np

    return -np.log10(np.clip(1 - accuracy, 1e-6, None))


def _shrink(stretched: Any) -> Any:
    return 1 - math.e ** (-stretched * math.log(10))
