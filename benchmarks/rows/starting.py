"""What it takes until workers are there, and what they take while they are idle."""

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.loops import idle
from rush import Rush

_IMPORT = "import redis, time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
NODE = 100
SUPERVISORS = 10
SETTLING = 3.0


def importing(bench: Bench) -> Iterator[Figure]:
    for words, goal in (("import rush", Goal(20)), ("from rush import Rush, RushWorker", None)):
        times = [_import(words) for _ in range(3 * bench.repeats + 1)][1:]
        yield Figure("import", f"{words}, over import redis", "ms", times, goal)


def start_up(bench: Bench) -> Iterator[Figure]:
    for n, goal in ((4, Goal(0.6)), (NODE, Goal(2.0))):
        times = []
        for _ in range(bench.repeats):
            with bench.network() as net:
                began = time.monotonic()
                _start(net, n)
                times.append(time.monotonic() - began)
        yield Figure("start", f"{n} local workers registered after start_workers", "s", times, goal)


def supervisor_memory(bench: Bench) -> Iterator[Figure]:
    sizes = []
    for _ in range(min(2, bench.repeats)):
        with bench.network() as net:
            _start(net, NODE)
            time.sleep(SETTLING)
            sizes.append(sum(_unshared(pid) for pid in {place.pid for place in net.placements.values()}) / 1e9)
    what = f"memory of a node's supervisor with {NODE} idle loops, unshared part"
    yield Figure("memory", what, "GB", sizes, Goal(1.2))


def heartbeats(bench: Bench) -> Iterator[Figure]:
    watched = 5.0 if bench.quick else 20.0
    with bench.network() as net:
        for _ in range(SUPERVISORS):
            _start(net, NODE)
        shares = []
        for _ in range(min(3, bench.repeats)):
            busy, began = bench.server_seconds(), time.monotonic()
            time.sleep(watched)
            shares.append(100 * (bench.server_seconds() - busy) / (time.monotonic() - began))
        if net.n_running_workers != SUPERVISORS * NODE:
            raise RuntimeError(f"{net.n_running_workers} workers are running, not {SUPERVISORS * NODE}")
    what = (
        f"heartbeats of {SUPERVISORS * NODE:,} workers under {SUPERVISORS} supervisors, share of a core of the server"
    )
    yield Figure("beats", what, "%", shares, Goal(3.0))


def _import(words: str) -> float:
    command = [sys.executable, "-c", _IMPORT.format(words)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1e3


def _start(net: Rush, n: int) -> None:
    net.wait_for_workers(worker_ids=net.start_workers(idle, n_workers=n), timeout=120)


def _unshared(pid: int | None) -> int:
    """Give the bytes that a process and those below it have for themselves."""
    process = psutil.Process(pid)
    return sum(one.memory_full_info().uss for one in (process, *process.children(recursive=True)))
