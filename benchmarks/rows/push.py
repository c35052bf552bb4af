"""Filling the queue."""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.ping import beside
from benchmarks.rows.round_trips import XS

A_CALL = 1000


def push_tasks(bench: Bench) -> Iterator[Figure]:
    with bench.pinned():
        measured = [_repeat(bench) for _ in range(bench.repeats)]
    times, pings, ratios = zip(*measured, strict=True)
    yield Figure(
        "push",
        f"push_tasks, {A_CALL:,} a call",
        "us/task",
        [time / A_CALL for time in times],
        Goal(12.0),
        [ratio / A_CALL for ratio in ratios],
        min(pings),
    )


def _repeat(bench: Bench) -> tuple[float, float, float]:
    tasks = [XS] * A_CALL
    with bench.network() as net:
        net.push_tasks(tasks)
        return beside(bench.ping, lambda: net.push_tasks(tasks), blocks=30, size=1, undisturbed=bench.quick)
