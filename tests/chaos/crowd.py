"""The workers of the campaign: groups under a supervisor each, made up for when one has ended."""

import time

import psutil

from tests.chaos import loops

HEARTBEAT = {"heartbeat_period": 0.5, "heartbeat_expire": 2.5, "grace_period": 1.0}
RESTARTS = 1_000_000
STARTS_IN = 15.0


class Group:
    """Some workers under one supervisor, and those that took their place."""

    def __init__(self, net, loop, options, size):
        self._net = net
        self._loop = loop
        self._options = options
        self._size = size
        self.workers = []
        self.supervisor = None

    def start(self):
        self.workers = self._net.start_local_workers(
            self._loop, n_workers=self._size, max_restarts=RESTARTS, loop_args=self._options, **HEARTBEAT
        )
        self.supervisor = psutil.Process(self._net.placements[self.workers[0]].pid)

    @property
    def alive(self):
        return is_alive(self.supervisor)

    def family(self):
        """Give the zygote and the loops that live."""
        try:
            zygotes = self.supervisor.children()
            return zygotes, sorted((p for zygote in zygotes for p in zygote.children()), key=lambda p: p.pid)
        except psutil.Error:
            return [], []


class Crowd:
    """All groups of the campaign."""

    def __init__(self, net, folder, seconds, size=2):
        options = {"folder": str(folder), "seconds": seconds}
        self.groups = [Group(net, loop, options, size) for loop in (loops.pop, loops.iterate, loops.explore)]
        self.started = 0

    def fill(self):
        """Start a group anew whose supervisor has ended."""
        for group in self.groups:
            if group.supervisor is None or not group.alive:
                group.start()
                self.started += 1

    def workers(self):
        return [worker for group in self.groups for worker in group.workers]

    def supervisors(self):
        return [group.supervisor for group in self.groups if group.supervisor is not None and group.alive]

    def loops(self):
        return [loop for group in self.groups for loop in group.family()[1]]

    def zygotes(self):
        return [zygote for group in self.groups for zygote in group.family()[0]]

    def retire(self, loop):
        """Have no more workers of one kind."""
        gone = [group for group in self.groups if group._loop is loop]
        self.groups = [group for group in self.groups if group not in gone]
        return gone


def is_alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_end(processes, seconds):
    """Wait until these have ended; give those that have not."""
    deadline = time.monotonic() + seconds
    while (left := [p for p in processes if is_alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
