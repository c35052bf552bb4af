"""Filling the queue."""

from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.ping import beside
from benchmarks.rows.round_trips import XS
from rush import Rush

A_CALL = 1000


def push_tasks(bench: Bench) -> Iterator[Figure]:
    measured = []
    with bench.pinned():
        for _ in range(bench.repeats):
            with bench.network() as net:
                measured.append(_repeat(bench, net))
    yield _figure("push", f"push_tasks, {A_CALL:,} a call", measured)


def among(bench: Bench, net: Rush, n: int) -> Iterator[Figure]:
    """Measure it in a network that has so many finished tasks; the queue stays full."""
    with bench.pinned():
        measured = [_repeat(bench, net) for _ in range(bench.repeats)]
    yield _figure("read", f"push_tasks, {A_CALL:,} a call, among {n:,} finished", measured)


def _figure(row: str, what: str, measured: list[tuple[float, float, float]]) -> Figure:
    times, pings, ratios = ([value / A_CALL for value in values] for values in zip(*measured, strict=True))
    return Figure(row, what, "us/task", times, Goal(12.0), ratios, min(pings) * A_CALL)


def _repeat(bench: Bench, net: Rush) -> tuple[float, float, float]:
    tasks = [XS] * A_CALL
    net.push_tasks(tasks)
    return beside(bench.ping, lambda: net.push_tasks(tasks), blocks=30, size=1, undisturbed=bench.quick)
