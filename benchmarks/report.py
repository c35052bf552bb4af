"""Figures as lines, as a table, and as JSON with what they were measured on."""

import datetime as dt
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure
from rush.server.programs import find_program

_PACKAGES = ("redis", "hiredis", "msgspec", "pandas", "numpy")
_HEAD = ("what", "measured", "in PINGs", "PING", "goal", "reached")


def line(figure: Figure) -> str:
    """Write a figure on one line."""
    measured, pings, ping, goal, reached = _cells(figure)
    beside = f"{pings} PINGs of {ping}" if pings and ping else ""
    return f"{figure.row:10} {figure.what:80} {measured:>16} {beside:>24} {goal:>16} {reached}".rstrip()


def table(figures: Iterable[Figure]) -> str:
    """Write figures as a Markdown table."""
    rows = [(figure.what, *_cells(figure)) for figure in figures]
    ruler = ("---", "---:", "---:", "---:", "---:", "---")
    return "\n".join("| " + " | ".join(row) + " |" for row in (_HEAD, ruler, *rows)) + "\n"


def document(figures: Sequence[Figure], environment: dict[str, Any]) -> str:
    """Write figures as JSON."""
    content = {
        **environment,
        "figures": [
            {
                "row": figure.row,
                "what": figure.what,
                "value": figure.absent or _short(figure.value),
                "unit": figure.unit,
                "repeats": [_short(value) for value in figure.values],
                "ping_us": None if figure.ping is None else _short(figure.ping),
                "pings": None if figure.ratio is None else _short(figure.ratio),
                "goal": None if figure.goal is None else figure.goal.text(figure.unit),
                "reached": figure.reached,
            }
            for figure in figures
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def surroundings() -> dict[str, Any]:
    """Say on what, with what and when is measured, and how busy the machine is."""
    server = find_program()
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.platform(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "server": f"{server.name} {server.version}",
        "python": platform.python_version(),
        "rush": importlib.metadata.version("rush-hpc"),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def _cells(figure: Figure) -> tuple[str, str, str, str, str]:
    return (
        figure.absent or f"{_number(figure.value)} {figure.unit}",
        "" if figure.ratio is None else _number(figure.ratio),
        "" if figure.ping is None else f"{figure.ping:.0f} us",
        "" if figure.goal is None else figure.goal.text(figure.unit),
        {True: "yes", False: "**no**", None: ""}[figure.reached],
    )


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
