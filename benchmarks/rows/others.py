"""What users would take instead, and rush, doing the same: each in a process of its own, on the same server."""

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure

# Name of the file in benchmarks/compare, name for people, package whose version counts.
SYSTEMS = (
    ("rush_queue", "rush {}, worker.tasks()", "rush-hpc"),
    ("rush_prefetch", "rush {}, worker.tasks(prefetch=1)", "rush-hpc"),
    ("rush_loops", "rush {}, each worker makes its own tasks", "rush-hpc"),
    ("pool", "concurrent.futures.ProcessPoolExecutor", ""),
    ("ray", "Ray {}", "ray"),
    ("dask", "Dask {}", "distributed"),
    ("rq", "RQ {}", "rq"),
    ("celery", "Celery {}", "celery"),
    ("dramatiq", "dramatiq {}", "dramatiq"),
    ("executorlib", "executorlib {}", "executorlib"),
    ("optuna", "Optuna {}, Redis journal, ask and tell", "optuna"),
)
TIMEOUT = 180
_PIPE = subprocess.PIPE


def compare(bench: Bench) -> Iterator[Figure]:
    for name, title, package in SYSTEMS:
        what = title.format(_version(package))
        ping = bench.ping.microseconds()
        results = [_run(bench, name) for _ in range(bench.repeats)]
        absent = next((result for result in results if isinstance(result, str)), "")
        measured = [result for result in results if not isinstance(result, str)]
        rates, latencies = [rate for rate, _ in measured], [latency for _, latency in measured]
        yield Figure("compare", what, "tasks/s", rates, ping=ping, absent="" if measured else absent)
        yield Figure("compare", what, "us", latencies, ping=ping, absent="" if measured else absent)


def _run(bench: Bench, name: str) -> tuple[float, float] | str:
    """Give tasks a second and the latency of one in microseconds; a str says why there are none."""
    command = [sys.executable, "-m", "benchmarks.compare", name]
    process = subprocess.Popen(command, stdin=_PIPE, stdout=_PIPE, stderr=_PIPE, text=True, start_new_session=True)
    try:
        out, err = process.communicate(bench.config.url + "\n", timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"did not end within {TIMEOUT} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        bench.client.flushall()
    if process.returncode:
        return "failed: " + (err.strip().splitlines() or ["no word"])[-1]
    told = json.loads(out.splitlines()[-1])
    if "missing" in told:
        return f"{told['missing']} is not installed"
    return float(told["rate"]), float(told["latency"])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package) if package else ""
    except importlib.metadata.PackageNotFoundError:
        return ""
