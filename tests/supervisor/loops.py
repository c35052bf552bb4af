"""Worker loops for the tests of supervisors; workers import this module, so it imports little."""

import os
import random
import signal
import sys
import time


def idle(worker):
    while not worker.terminated:
        worker.pop_task(timeout=None)


def idle_without_tasks(worker):
    while not worker.terminated:
        time.sleep(0.02)


def stubborn(worker, until=None):
    """Go on whatever one is told; with `until` say first, in that file, that the loop has begun."""
    if until is not None:
        touch(until)
    while True:
        time.sleep(0.05)


def returns(worker):
    return None


def obey(worker):
    """Do what each task says."""
    while not worker.terminated:
        task = worker.pop_task(timeout=None)
        if task is None:
            continue
        do(**task.xs)
        worker.finish_tasks([task.key], [{"pid": os.getpid()}])


def obey_ahead(worker):
    """Do what each task says, with the next one waiting here already."""
    while not worker.terminated:
        for task in worker.tasks(prefetch=1):
            do(**task.xs)
            task.finish({"tries": task.tries})


def pops_and_returns(worker):
    worker.pop_task(timeout=None)


def steady(worker, seconds=1.0):
    """Make a task of one's own now and then."""
    while not worker.terminated:
        (key,) = worker.push_running_tasks([{"x": 1}])
        time.sleep(seconds)
        worker.finish_tasks([key], [{"y": 1}])


def own_task(worker, timeout=None, seconds=60.0):
    """Begin a task of one's own, once, and sleep in it; a fresh loop idles."""
    if not worker.n_tasks:
        worker.push_running_tasks([{"x": 1}], timeout=timeout)
        time.sleep(seconds)
    idle(worker)


def ends(worker, how, value=None):
    do(how, value)


def ends_first(worker, folder, how, value=None):
    """End badly the first time, and idle from the second on."""
    if touch(os.path.join(folder, worker.worker_id)):  # noqa: PTH118
        do(how, value)
    idle(worker)


def do(how, value=None):
    """End, or spend time, in the way that is asked for; anything else is done at once."""
    if how in DEEDS:
        DEEDS[how](value)


def _raise(value):
    raise ValueError(value)


def _signal(value):
    os.kill(os.getpid(), value)
    time.sleep(10)


def _complain(value):
    print("first complaint", file=sys.stderr)  # noqa: T201
    print(value, file=sys.stderr)  # noqa: T201
    os._exit(1)


def _sleep_at(value):
    touch(value)
    time.sleep(60)


def _wait_for(value):
    while not os.path.exists(value):  # noqa: PTH110
        time.sleep(0.01)


def hold(seconds):
    """Compute in one C call that never lets go of the interpreter's lock, for about so many seconds."""
    end = time.monotonic() + seconds
    digits = 2**9
    while True:
        began = time.monotonic()
        pow(3, 7**digits, 10**digits)
        took = time.monotonic() - began
        if time.monotonic() >= end:
            return
        if took < seconds / 8:
            digits *= 2


def touch(path):
    """Make a file; say whether it was not there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def say(worker, **values):
    """Store something about this loop where the test finds it."""
    worker.push_finished_tasks([{"x": worker.worker_id}], [values])


def tell_random(worker):
    import numpy as np

    say(worker, plain=random.random(), numpy=float(np.random.random()))  # noqa: NPY002 - the seed that forks share
    idle(worker)


def tell_process(worker):
    say(
        worker,
        pid=os.getpid(),
        parent=os.getppid(),
        group=os.getpgid(0),
        remaining=worker.remaining_time,
        devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        rocm=os.environ.get("ROCR_VISIBLE_DEVICES"),
    )
    idle(worker)


def tell_output(worker):
    print("out of the loop")  # noqa: T201
    print("err of the loop", file=sys.stderr)  # noqa: T201
    os.write(2, b"raw bytes\n")
    idle(worker)


def tell_terminated(worker, folder):
    touch(os.path.join(folder, "began"))  # noqa: PTH118
    while not worker.terminated:
        time.sleep(0.005)
    touch(os.path.join(folder, "terminated"))  # noqa: PTH118


def log_something(worker):
    import logging

    logging.getLogger("campaign").warning("a word from %s", worker.worker_id)
    returns(worker)


def with_child(worker):
    """Start a process of one's own that outlives a loop that is not careful."""
    import subprocess

    child = subprocess.Popen(["sleep", "300"])
    say(worker, child=child.pid)
    idle(worker)


def cost_of_terminated(worker):
    began = time.perf_counter()
    for _ in range(1000):
        worker.terminated  # noqa: B018 - its cost is the point
    say(worker, seconds=(time.perf_counter() - began) / 1000)


AT_FORK = set()
os.register_at_fork(before=lambda: AT_FORK.update(sys.modules))


def tell_imports(worker):
    """Read results, and tell what had to be imported since the loop was forked."""
    worker.fetch_finished_tasks()
    say(worker, imports=sorted(set(sys.modules) - AT_FORK))


SEGV = int(signal.SIGSEGV)
KILL = int(signal.SIGKILL)


def eat(worker, group):
    """Take part in a memory control group, and eat until the kernel has had enough."""
    worker.push_running_tasks([{"x": 1}])
    with open(os.path.join(group, "cgroup.procs"), "w") as file:  # noqa: PTH118, PTH123
        file.write(str(os.getpid()))
    eaten = []
    while True:
        eaten.append(bytearray(b"x") * 2**20)


DEEDS = {
    "raise": _raise,
    "exit": sys.exit,
    "vanish": os._exit,
    "signal": _signal,
    "complain": _complain,
    "sleep": time.sleep,
    "sleep_at": _sleep_at,
    "wait_for": _wait_for,
    "hold": hold,
}
