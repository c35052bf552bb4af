"""What the command line says: text for people, one JSON value for programs. No other file prints."""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """Who reads the output."""

    TEXT = "text"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", help="text for people, json for programs: one value.")]

WORKER_COLUMNS = ("worker_id", "state", "hostname", "pid", "backend", "reason")


def show(value: object, text: str, output: Format) -> None:
    """Write the result of a command to standard output: `value` as JSON, or `text`."""
    if output is Format.JSON:
        text = json.dumps(value, default=_plain)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Write a remark or an error to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show a live line on standard error; the function that it gives says how many are done, and a remark."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        *(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[remark]}"), TimeElapsedColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as line:
        bar = line.add_task(title, total=total, remark="")
        yield lambda done, remark: line.update(bar, completed=min(done, total), remark=remark)


def table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """Lay out rows in columns of equal width, numbers to the right; None is left empty."""
    cells = [list(columns), *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    sides = [_side([row.get(column) for row in rows]) for column in columns]
    laid_out = ([side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)] for line in cells)
    return "\n".join("  ".join(line).rstrip() for line in laid_out)


def listing(row: Mapping[str, object]) -> str:
    """Lay out names and values, one a line; None is left out."""
    shown = {name.replace("_", " "): _cell(value) for name, value in row.items() if value is not None}
    width = max(map(len, shown), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in shown.items())


def _side(values: Sequence[object]) -> Callable[[str, int], str]:
    stated = [value for value in values if value is not None]
    numbers = bool(stated) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in stated)
    return str.rjust if numbers else str.ljust


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("\n", " ")


def _plain(value: Any) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)
