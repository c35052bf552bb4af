"""Everybody's results as a data frame: the first read, one new row, and what they take in the server."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator

import pandas as pd

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.rows import drain, push, round_trips, waking
from rush import Rush, RushWorker

SIZES = (10_000, 100_000, 1_000_000)
A_PUSH = 50_000
NEW_ROWS = 50
WIDE = 100
RUNNING = 10


def reading(bench: Bench) -> Iterator[Figure]:
    """Measure at each size, in one network of that size."""
    warm: dict[int, Figure] = {}
    for n in SIZES[:2] if bench.quick else SIZES:
        with bench.network() as net:
            free = bench.server_bytes()
            with bench.pinned(), RushWorker(net.network_id, net.config) as worker:
                fill(worker, n, inputs=2)
                bench.settle()
                used = (bench.server_bytes() - free) / n
                yield from _cold(bench, net, n)
                yield Figure("read", f"server memory a finished task, at {n:,}", "bytes", [used], Goal(250))
                warm[n] = _warm(bench, worker, n)
                yield warm[n]
                if n == 100_000:
                    yield _states(bench, worker, n)
            if n == 1_000_000:
                for one in (round_trips, drain, push, waking):
                    yield from one.among(bench, net, n)
    first, last = warm[min(warm)], warm[max(warm)]
    growth = [b / a for a, b in zip(first.values, last.values, strict=True)]
    yield Figure("read", f"one new row at {max(warm):,}, in times of {min(warm):,}", "times", growth, Goal(1.3))
    yield _wide(bench)


def fill(worker: RushWorker, n: int, inputs: int) -> None:
    """Push finished tasks, of floats with one output."""
    names = [f"x{i}" for i in range(inputs)]
    for first in range(0, n, A_PUSH):
        size = min(A_PUSH, n - first)
        xss = [{name: random.random() for name in names} for _ in range(size)]
        worker.push_finished_tasks(xss, [{"y": random.random()} for _ in range(size)])


def _cold(bench: Bench, net: Rush, n: int) -> Iterator[Figure]:
    clock = _clock(bench)
    taken, served = [], []
    net.fetch_finished_tasks()
    for _ in range(bench.repeats):
        reader = Rush(net.network_id, net.config)
        reader.n_finished_tasks  # noqa: B018 - connects
        gc.collect()
        busy, began = bench.server_seconds(), clock()
        _expect(reader.fetch_finished_tasks(), n)
        taken.append((clock() - began) / n * 1e6)
        served.append((bench.server_seconds() - busy) / n * 1e6)
        del reader
    goal = Goal(3.5 if n == SIZES[-1] else 3.0)
    ping = bench.ping.microseconds()
    yield Figure("read", f"fetch_finished_tasks, cold, {n:,} tasks", "us/task", taken, goal, ping=ping)
    yield Figure("read", f"server time for that, {n:,} tasks", "us/task", served, Goal(0.3), ping=ping)


def _warm(bench: Bench, worker: RushWorker, n: int, inputs: int = 2) -> Figure:
    reader = Rush(worker.network_id, worker.config)
    times = _with_one_new_row(bench, worker, reader.fetch_finished_tasks, inputs)
    what = f"one new row on a warm cache of {n:,}" + (f", {inputs} inputs a task" if inputs == WIDE else "")
    return Figure(
        "read",
        what,
        "ms",
        times,
        Goal(3.0 if inputs == WIDE else 0.5),
        ping=bench.ping.microseconds(),
    )


def _states(bench: Bench, worker: RushWorker, n: int) -> Figure:
    reader = Rush(worker.network_id, worker.config)
    keys = worker.push_running_tasks([{"x0": 0.5, "x1": 0.5}] * RUNNING)
    times = _with_one_new_row(bench, worker, lambda: reader.fetch_tasks_with_state(states=["running", "finished"]), 2)
    worker.finish_tasks(keys, [{"y": 0.0}])
    what = f"fetch_tasks_with_state(running, finished), warm {n:,}, {RUNNING} running, one new"
    return Figure("read", what, "ms", times, Goal(4.0), ping=bench.ping.microseconds())


def _wide(bench: Bench) -> Figure:
    with bench.pinned(), bench.network() as net, RushWorker(net.network_id, net.config) as worker:
        fill(worker, SIZES[0], WIDE)
        return _warm(bench, worker, SIZES[0], WIDE)


def _with_one_new_row(bench: Bench, worker: RushWorker, fetch: Callable[[], pd.DataFrame], inputs: int) -> list[float]:
    """Give, for each repeat, the median milliseconds of a fetch after one task has finished."""
    rows = len(fetch())
    clock, medians = _clock(bench), []
    for _ in range(bench.repeats):
        times = []
        for _ in range(NEW_ROWS):
            fill(worker, 1, inputs)
            rows += 1
            began = clock()
            frame = fetch()
            times.append((clock() - began) * 1e3)
            _expect(frame, rows)
            del frame
        medians.append(statistics.median(times))
    return medians


def _clock(bench: Bench) -> Callable[[], float]:
    """Give what to measure with: on a machine with other things to do, the reader's own processor time."""
    return time.process_time if bench.quick else time.perf_counter


def _expect(frame: pd.DataFrame, rows: int) -> None:
    if len(frame) != rows:
        raise RuntimeError(f"{len(frame)} rows were read, not {rows}")
