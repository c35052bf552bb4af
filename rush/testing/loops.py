"""Worker loops of the contract tests. They travel by value, so that workers need no pytest."""

import os
import time

from rush import RushWorker


def work(worker: RushWorker) -> None:
    """Square until told to stop; a task may ask for time."""
    while not worker.terminated:
        task = worker.pop_task(timeout=0.5)
        if task is not None and task.xs is not None:
            time.sleep(task.xs.get("seconds", 0))
            worker.finish_tasks([task.key], [{"y": task.xs["x"] ** 2}])


def describe(worker: RushWorker) -> None:
    """Say what can be seen of this worker from outside, and which devices it has."""
    import psutil

    from rush.config import visible_devices

    family = [psutil.Process(), *psutil.Process().parents()[:2]]
    shown = [*family[0].environ().values(), *(word for process in family for word in process.cmdline())]
    seen = {"shown": shown, "devices": list(visible_devices() or ())}
    worker.push_finished_tasks([{"worker": worker.worker_id}], [{"seen": seen}])


def lose_supervisor(worker: RushWorker) -> None:
    """Beat for as long as this process lives, and kill the supervisor at the first task."""
    import signal

    import psutil

    supervisor = psutil.Process().parents()[1]
    while True:
        worker.write_hashes(keys=["beat"], at=time.time())
        if worker.pop_task(timeout=0.1) is not None:
            os.kill(supervisor.pid, signal.SIGKILL)


def have_child(worker: RushWorker) -> None:
    """Never end, with a child that beats for as long as it lives."""
    if os.fork() == 0:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            worker.write_hashes(keys=["beat"], at=time.time())
            time.sleep(0.1)
        os._exit(0)
    while True:
        time.sleep(1)
