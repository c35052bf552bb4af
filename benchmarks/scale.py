"""`python -m benchmarks.scale`: many loops that read each other's results, and how much of their time they evaluate.

Each proposes a task from everybody's results, evaluates it, which is a second of sleep, and finishes it. A worker's
utilisation is the time it evaluates over the wall time, from its third cycle on; an evaluation counts as the one second
that it asked for, so that waking up late on a busy machine counts against it.
"""

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import psutil

from benchmarks import standins
from benchmarks.bench import CORES, Bench, take_precedence
from benchmarks.report import surroundings
from benchmarks.standins import Load
from rush import Rush, RushWorker

EVALUATION = 1.0
A_SUPERVISOR = 112
"""Workers under one supervisor, as if four nodes of 112 cores were there."""

WARM_UP = 2
GOAL = 0.97


@dataclass(frozen=True)
class Run:
    """What one number of workers gave; shares are of 1, seconds are of the clock.

    Attributes
    ----------
    utilisation, least, lowest_twentieth
        Mean over the workers, the least of them, and what nineteen of twenty reach.
    registered, all_at_work
        Seconds from the call of `start_workers` until all had registered, and until all had begun their third cycle.
    server, machine
        Share of one core that the server took, and of all cores that server, workers and supervisors took.
    cycle_overhead
        Median seconds of a cycle besides its evaluation.
    """

    workers: int
    seconds: float
    tasks: int
    utilisation: float
    least: float
    lowest_twentieth: float
    registered: float
    all_at_work: float
    server: float
    machine: float
    cycle_overhead: float


M = TypeVar("M", bound=Run | Load)


def search(worker: RushWorker) -> None:
    """Propose, evaluate and finish until told to stop, then leave behind when each cycle began."""
    began = []
    while not worker.terminated:
        began.append(time.monotonic())
        xs = propose(worker.fetch_finished_tasks())
        (key,) = worker.push_running_tasks([xs])
        time.sleep(EVALUATION)
        worker.finish_tasks([key], [{"y": (xs["x1"] - 1) ** 2 + (xs["x2"] + 2) ** 2}])
    worker.write_hashes(keys=[f"cycles-{worker.worker_id}"], began=[began], ended=[time.monotonic()])


def propose(finished: pd.DataFrame) -> dict[str, float]:
    """Take a step from the best that anybody has found."""
    if finished.empty:
        return {"x1": random.uniform(-5, 5), "x2": random.uniform(-5, 5)}
    best = int(np.argmin(finished["y"].to_numpy()))
    return {name: float(finished[name].to_numpy()[best]) + random.gauss(0, 0.1) for name in ("x1", "x2")}


def measure(bench: Bench, workers: int, seconds: float) -> Run:
    """Run so many workers for so long, counted from the time at which all have registered."""
    with bench.network() as net:
        started = time.monotonic()
        ids = _start(net, workers)
        net.wait_for_workers(worker_ids=ids, timeout=600)
        registered = time.monotonic() - started
        time.sleep((WARM_UP + 1) * EVALUATION)
        served, used, began = bench.server_seconds(), _processor_seconds(net), time.monotonic()
        time.sleep(seconds)
        server = (bench.server_seconds() - served) / (time.monotonic() - began)
        loops = (_processor_seconds(net) - used) / (time.monotonic() - began)
        net.stop_workers("terminate")
        while net.n_running_workers:
            time.sleep(0.2)
        hashes = net.read_hashes([f"cycles-{worker}" for worker in ids], ["began", "ended"])
        tasks = net.n_finished_tasks
    cycles = [(found["began"], found["ended"]) for found in hashes if found is not None]
    if len(cycles) != workers or tasks != sum(len(starts) for starts, _ in cycles):
        raise RuntimeError(f"{len(cycles)} of {workers} workers came to their end, and {tasks} tasks")
    return _summary(cycles, started, seconds, registered, server, (server + loops) / len(CORES))


def _start(net: Rush, workers: int) -> list[str]:
    shares = [min(A_SUPERVISOR, workers - first) for first in range(0, workers, A_SUPERVISOR)]
    options: dict[str, Any] = {"modules": ["pandas"], "grace_period": 120.0}
    return [worker for share in shares for worker in net.start_workers(search, n_workers=share, **options)]


def _processor_seconds(net: Rush) -> float:
    """Give the processor time of the supervisors and of all below them."""
    supervisors = [psutil.Process(pid) for pid in {place.pid for place in net.placements.values()}]
    tree = [one for supervisor in supervisors for one in (supervisor, *supervisor.children(recursive=True))]
    return sum(sum(one.cpu_times()[:2]) for one in tree)


def _summary(
    cycles: Sequence[tuple[list[float], float]],
    started: float,
    seconds: float,
    registered: float,
    server: float,
    machine: float,
) -> Run:
    shares = sorted(
        EVALUATION * len(began[WARM_UP:]) / (ended - began[WARM_UP]) if len(began) > WARM_UP else math.nan
        for began, ended in cycles
    )
    lengths = [b - a for began, _ in cycles for a, b in zip(began[WARM_UP:], began[WARM_UP + 1 :], strict=False)]
    return Run(
        workers=len(cycles),
        seconds=seconds,
        tasks=sum(len(began) for began, _ in cycles),
        utilisation=statistics.fmean(shares),
        least=shares[0],
        lowest_twentieth=shares[len(shares) // 20],
        registered=registered,
        all_at_work=max(began[WARM_UP] for began, _ in cycles) - started,
        server=server,
        machine=machine,
        cycle_overhead=statistics.median(lengths) - EVALUATION,
    )


def draw(runs: Sequence[Run], loads: Sequence[Load], path: Path) -> None:
    """Draw utilisation, and what the server and the machine are busy, over the number of workers."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
    series: list[tuple[str, str, Sequence[Run | Load]]] = [
        ("workers", "tab:blue", runs),
        ("stand-ins", "tab:purple", loads),
    ]
    for who, colour, measured in series:
        numbers = [one.workers for one in measured]
        mean, low = ([100 * getattr(one, name) for one in measured] for name in ("utilisation", "lowest_twentieth"))
        axes.fill_between(numbers, low, mean, color=colour, alpha=0.2)
        axes.plot(numbers, mean, "o-", color=colour, label=f"utilisation of {who}")
        server = [100 * one.server for one in measured]
        axes.plot(numbers, server, "^:", color=colour, label=f"server under {who}, of one core")
        if who == "workers":
            everything = [100 * run.machine for run in runs]
            axes.plot(numbers, everything, "s--", color="tab:orange", label="workers and server, of all cores")
    axes.axhline(100 * GOAL, color="grey", linewidth=0.8)
    ticks = [56 * 2**doubled for doubled in range(7)]
    axes.set(xlabel="workers", ylabel="%", ylim=(0, 103), xscale="log")
    axes.set_xticks(ticks, [f"{number:,}" for number in ticks])
    axes.set_xticks([], minor=True)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    options = _options()
    if options.realtime and not take_precedence():
        print("no right to real-time priority: others on this machine may disturb")
    bench = Bench(repeats=1)
    environment = surroundings()
    runs: list[Run] = []
    loads: list[Load] = []
    try:
        for workers in options.workers or ([] if options.stand_ins else [448]):
            runs.append(measure(bench, workers, options.seconds))
            _print(runs[-1])
        for workers in options.stand_ins:
            loads.append(standins.measure(bench, workers, options.seconds))
            _print(loads[-1])
    finally:
        bench.close()
    if options.json:
        known = json.loads(options.json.read_text()) if options.json.exists() else {}
        runs = _beside(runs, [Run(**run) for run in known.get("runs", [])])
        loads = _beside(loads, [Load(**load) for load in known.get("stand_ins", [])])
        found = {"runs": [asdict(run) for run in runs], "stand_ins": [asdict(load) for load in loads]}
        options.json.write_text(json.dumps({**environment, "goal": GOAL, **found}, indent=1) + "\n")
    if options.plot:
        draw(runs, loads, options.plot)


def _print(measured: Run | Load) -> None:
    print(json.dumps({key: round(value, 4) for key, value in asdict(measured).items()}), flush=True)


def _beside(measured: Sequence[M], known: Sequence[M]) -> list[M]:
    """Give what was measured now, and what is known of other numbers of workers."""
    by_number = {one.workers: one for one in (*known, *measured)}
    return [by_number[number] for number in sorted(by_number)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[], help="how many (448); each number is a run")
    parser.add_argument(
        "--stand-ins", type=int, nargs="+", default=[], help="how many stand-ins for workers, each a run"
    )
    parser.add_argument("--seconds", type=float, default=180.0, help="how long each run is measured (%(default)g)")
    parser.add_argument("--realtime", action="store_true", help="run before all that has normal priority, if allowed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it there, beside other numbers of workers")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
