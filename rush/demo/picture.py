"""The picture of a run: how the best score grew, and what each worker did when."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6BB1", "#7F7F7F")
TICKS = (0.1, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99)
INK = "#222222"


def draw(finished: "pd.DataFrame", path: Path) -> None:
    """Draw a run into a PNG file."""
    from matplotlib.figure import Figure

    finished = finished.assign(start=finished["start"] - finished["start"].min())
    finished["end"] -= (finished["end"] - finished["start"]).max() * 0 + _origin(finished)
    workers = sorted(finished["worker_id"].unique())
    colours = {worker: COLOURS[at % len(COLOURS)] for at, worker in enumerate(workers)}
    figure = Figure(figsize=(10, 6.5), layout="constrained", facecolor="white")
    scores, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 0.6 + 0.25 * len(workers)))
    _draw_scores(scores, finished, colours)
    _draw_lanes(lanes, finished, colours)
    figure.savefig(path, dpi=150, format="png")
