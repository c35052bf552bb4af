"""The loops that are broken on purpose. What they do they write down outside the server, a line at a time."""

import os
import time
from pathlib import Path

LEDGER, HURRY = "ledger", "hurry"


class Ledger:
    """Lines in a file that all loops append to; a line of a few bytes is written whole or not at all."""

    def __init__(self, folder, worker):
        self._worker = worker.worker_id
        self._file = os.open(Path(folder) / LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what, key, attempt=1):
        os.write(self._file, f"{what} {key} {attempt} {self._worker}\n".encode())


def square(x):
    return x * x


def work(folder, seconds):
    """Take the time that a task takes, unless the breaking is over."""
    if not (Path(folder) / HURRY).exists():
        time.sleep(seconds)


def pop(worker, folder, seconds):
    """Take tasks from the queue, one at a time."""
    ledger = Ledger(folder, worker)
    while not worker.terminated:
        task = worker.pop_task(timeout=1.0)
        if task is None:
            continue
        ledger.note("began", task.key, task.key.attempt)
        work(folder, seconds)
        if worker.finish_tasks([task.key], [{"y": square(task.xs["x"])}]):
            ledger.note("finished", task.key, task.key.attempt)


def iterate(worker, folder, seconds):
    """Take tasks from the queue with one request in flight."""
    ledger = Ledger(folder, worker)
    while not worker.terminated:
        for task in worker.tasks(prefetch=1):
            ledger.note("began", task.key, task.key.attempt)
            work(folder, seconds)
            task.finish({"y": square(task.xs["x"])})


def explore(worker, folder, seconds):
    """Make tasks of one's own, and read everybody's results."""
    ledger = Ledger(folder, worker)
    step = 0
    while not worker.terminated:
        (key,) = worker.push_running_tasks([{"x": step}])
        ledger.note("made", key)
        work(folder, seconds)
        if worker.finish_tasks([key], [{"y": square(step)}]):
            ledger.note("finished", key)
        if step % 10 == 0 and not worker.fetch_finished_tasks().index.is_unique:
            ledger.note("twice_in_a_frame", key)
        step += 1
