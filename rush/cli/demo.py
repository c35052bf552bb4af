"""``rush demo``: asynchronous decentralised Bayesian optimisation of a real model on real data."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rush.cli.output import Format, Output, listing, progress, show, table
from rush.errors import MissingDependency

if TYPE_CHECKING:
    from rush.demo.summary import Summary

app = typer.Typer(rich_markup_mode=None)

File = Path | None


@app.command()
def demo(
    workers: Annotated[int, typer.Option(min=1, help="How many workers.")] = 4,
    evaluations: Annotated[int, typer.Option(min=1, help="How many configurations to try.")] = 100,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="Where they run; default: this machine.")] = None,
    csv: Annotated[File, typer.Option(metavar="FILE", dir_okay=False, help="Write all results there.")] = None,
    plot: Annotated[File, typer.Option(metavar="FILE", dir_okay=False, help="Draw a PNG of the run there.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Tune a real model on real data with four workers on this machine.

    Each worker fits a model of its own to everybody's results, proposes the next configuration, evaluates and shares
    it. Without a configured server a private one starts, and ends with the demo.
    """
    _check_installed("sklearn", "scikit-learn")
    if plot is not None:
        _check_installed("matplotlib", "matplotlib")
    for file in (csv, plot):
        if file is not None and not file.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {file.absolute().parent}")
    if backend is not None:
        from rush.backends import find_backend

        find_backend(backend)
    from rush.demo.run import run

    with progress("tuning", evaluations) as advance:
        finished, summary = run(evaluations, workers, backend, advance)
    written = {}
    if csv is not None:
        finished.to_csv(csv)
        written["csv"] = str(csv)
    if plot is not None:
        from rush.demo.picture import draw

        draw(finished, plot)
        written["plot"] = str(plot)
    show({**asdict(summary), **written}, _text(summary, written), output)


def _text(summary: "Summary", written: dict[str, str]) -> str:
    from rush.demo.summary import COLUMNS

    best = [{**row, "accuracy": f"{row['accuracy']:.4f}"} for row in summary.best]
    tasks = [{"worker": worker, "tasks": count} for worker, count in summary.tasks_per_worker.items()]
    figures = {
        "evaluations": summary.evaluations,
        "wall time": f"{summary.seconds:.1f} s",
        "utilisation": f"{summary.utilisation:.1%} of worker time spent evaluating",
        "rush itself": f"{summary.cost_per_task * 1000:.2f} ms of processor time per task",
        **written,
    }
    return "\n\n".join(
        ("Best configurations\n" + table(best, COLUMNS), table(tasks, ("worker", "tasks")), listing(figures))
    )


def _check_installed(module: str, package: str) -> None:
    if find_spec(module) is None:
        raise MissingDependency(f"the demo needs {package}: pip install 'rush-hpc[demo]'")
