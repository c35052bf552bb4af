"""A manager whose workers are gone after the test, and ways to look at supervisors and loops."""

import contextlib
import os
import signal

import psutil
import pytest

from rush.manager import Rush
from tests.conftest import patience


@pytest.fixture
def net(network_id, config):
    """Give a manager of a fresh network."""
    manager = Rush(network_id, config)
    yield manager
    end(manager)


def end(manager):
    """End all supervisors of a manager, and close its connections."""
    for pid in supervisors(manager):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
    patience(lambda: _hurried(supervisors(manager)), 15, "the end of all supervisors")
    manager._session.close()
    manager._store.close()


def _hurried(pids):
    """Send the second SIGTERM, which kills at once; one that came with the first would be lost in it."""
    left = [pid for pid in pids if alive(pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    return not left


def supervisors(manager):
    """Give the process ids of the supervisors that a manager has started."""
    return {placement.pid for placement in manager._store.placements() if placement.pid}


def supervisor_of(manager, worker):
    return manager.placements[worker].pid


def loop_of(manager, worker):
    """Give the process id of a worker's loop."""
    return {info.worker_id: info.pid for info in manager._store.workers()}[worker]


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def reason_of(manager, worker):
    """Wait until a worker has ended, and give the reason."""
    patience(lambda: worker in manager._store.ended_workers(), 15, f"the end of {worker}")
    return manager._store.ended_workers()[worker].reason


def start(manager, loop, n=1, **options):
    """Start workers and wait until they have registered."""
    workers = manager.start_workers(loop, n_workers=n, **options)
    manager.wait_for_workers(worker_ids=workers, timeout=30)
    return workers


def condition_of(manager, key):
    """Wait until a task has failed, and give why."""
    patience(lambda: manager.is_failed_task([key])[0], 15, "the failure of the task")
    return manager.fetch_failed_tasks().loc[key, "condition"]


def waits(predicate, timeout=15, what="the condition"):
    patience(predicate, timeout, what)
