"""Figures as lines, and as JSON with what they were measured on."""

import datetime as dt
import importlib.metadata
import json
import os
import platform
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure
from rush.server.programs import find_program

_PACKAGES = ("redis", "hiredis", "msgspec", "pandas", "numpy")


def line(figure: Figure) -> str:
    """Write a figure on one line."""
    measured = figure.absent or f"{number(figure.value)} {figure.unit}"
    pings = "" if figure.ratio is None else f"{number(figure.ratio)} PINGs of {figure.ping:.0f} us"
    goal = "" if figure.goal is None else figure.goal.text(figure.unit)
    reached = {True: "yes", False: "NO", None: ""}[figure.reached]
    return f"{figure.row:8} {figure.what:84} {measured:>20} {pings:>24} {goal:>18} {reached}".rstrip()


def write(path: Path, figures: Sequence[Figure], surroundings: dict[str, Any], rows: Collection[str]) -> None:
    """Write figures as JSON; those of other rows than `rows` stay as the file has them."""
    kept = [] if not path.exists() else json.loads(path.read_text())["figures"]
    measured = [_plain(figure) | {"load": surroundings["load"]} for figure in figures]
    everything = [figure for figure in kept if figure["row"] not in rows] + measured
    path.write_text(json.dumps({**surroundings, "figures": everything}, indent=1, ensure_ascii=False) + "\n")


def surroundings() -> dict[str, Any]:
    """Say on what, with what and when is measured, and how busy the machine is."""
    server = find_program()
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "load": [round(load, 2) for load in os.getloadavg()],
        "scheduling": "normal" if os.sched_getscheduler(0) == os.SCHED_OTHER else "real time",
        "server": f"{server.name} {server.version}",
        "python": platform.python_version(),
        "rush": importlib.metadata.version("rush-hpc"),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def number(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plain(figure: Figure) -> dict[str, Any]:
    return {
        "row": figure.row,
        "what": figure.what,
        "value": None if figure.absent else _short(figure.value),
        "unit": figure.unit,
        "repeats": [_short(value) for value in figure.values],
        "ping_us": None if figure.ping is None else _short(figure.ping),
        "pings": None if figure.ratio is None else _short(figure.ratio),
        "goal": None if figure.goal is None else figure.goal.text(figure.unit),
        "reached": figure.reached,
        "absent": figure.absent,
    }


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()


def _short(value: float) -> float:
    return float(f"{value:.4g}")
