"""Breaking things at random: which, when and how follows from the seed alone."""

import contextlib
import heapq
import itertools
import random
import signal
import time
from collections import Counter

import psutil

from rush.errors import RushError
from rush.model import Ending, WorkerState

MEAN_PAUSE = 0.5
_LOOK = 0.2

# How often each is done, relative to the others.
WEIGHTS = {
    "connections cut in a reply": 8,
    "requests that arrive after their repeat": 8,
    "loops killed": 5,
    "loops stopped": 3,
    "live workers declared lost": 4,
    "supervisors stopped": 2,
    "supervisors killed": 2,
    "supervisors told to drain": 1,
    "zygotes killed": 1,
    "servers killed and restarted": 1,
    "servers stopped": 1,
}


class Breaker:
    """Breaks a campaign for a while, then mends everything.

    Parameters
    ----------
    seed
        Of its choices: the pauses, the actions, whom they meet and for how long.
    server, proxy
        The server, and what stands before it.
    crowd
        The workers.
    store
        The network, as seen past the proxy.
    """

    def __init__(self, seed, server, proxy, crowd, store):
        self._random = random.Random(seed)
        self._server = server
        self._proxy = proxy
        self._crowd = crowd
        self._store = store
        self._mends = []
        self._order = itertools.count()
        self._server_away = 0
        self.done = Counter(dict.fromkeys(WEIGHTS, 0))
        self._actions = {
            "connections cut in a reply": self._cut,
            "requests that arrive after their repeat": self._delay,
            "loops killed": self._kill_loop,
            "loops stopped": lambda who, how: self._stop(_pick(self._crowd.loops(), who), 0.2 + 6 * how),
            "live workers declared lost": self._declare_lost,
            "supervisors stopped": lambda who, how: self._stop(_pick(self._crowd.supervisors(), who), 0.2 + 6 * how),
            "supervisors killed": lambda who, _: _send(_pick(self._crowd.supervisors(), who), signal.SIGKILL),
            "supervisors told to drain": lambda who, _: _send(_pick(self._crowd.supervisors(), who), signal.SIGTERM),
            "zygotes killed": lambda who, _: _send(_pick(self._crowd.zygotes(), who), signal.SIGKILL),
            "servers killed and restarted": self._restart_server,
            "servers stopped": self._stop_server,
        }

    def run(self, seconds):
        """Break things for so many seconds."""
        end = time.monotonic() + seconds
        draw = self._random
        while time.monotonic() < end:
            pause = draw.expovariate(1 / MEAN_PAUSE)
            (name,) = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))
            who, how = draw.random(), draw.random()
            self._rest(min(time.monotonic() + pause, end))
            if self._actions[name](who, how):
                self.done[name] += 1

    def mend(self):
        """Make everything whole again that is still broken."""
        self._proxy.cut_after = self._proxy.delay = None
        while self._mends:
            heapq.heappop(self._mends)[2]()
        self._crowd.fill()

    def _rest(self, until):
        while True:
            now = time.monotonic()
            while self._mends and self._mends[0][0] <= now:
                heapq.heappop(self._mends)[2]()
            if not self._server_away:
                self._crowd.fill()
            if now >= until:
                return
            time.sleep(max(0.0, min(_LOOK, until - now)))

    def _later(self, seconds, mend):
        heapq.heappush(self._mends, (time.monotonic() + seconds, next(self._order), mend))

    def _cut(self, _who, how):
        self._proxy.cut_after = int(40 * how)
        return True

    def _delay(self, _who, how):
        self._proxy.delay = 0.02 + how
        return True

    def _kill_loop(self, who, how):
        return _send(_pick(self._crowd.loops(), who), signal.SIGKILL if how < 0.7 else signal.SIGSEGV)

    def _stop(self, process, seconds):
        if not _send(process, signal.SIGSTOP):
            return False
        self._later(seconds, lambda: _send(process, signal.SIGCONT))
        return True

    def _declare_lost(self, who, _how):
        if self._server_away:
            return False
        worker = _pick(self._crowd.workers(), who)
        ending = Ending("declared lost by the breaker", uses_try=True, state=WorkerState.LOST)
        with contextlib.suppress(RushError):
            incarnation = self._store.incarnations([worker]).get(worker)
            return incarnation is not None and self._store.bury(worker, incarnation, ending)
        return False

    def _restart_server(self, _who, how):
        if self._server_away:
            return False
        self._server_away += 1
        self._server.stop(kill=True)
        self._later(3 * how, self._start_server)
        return True

    def _start_server(self):
        self._server.start()
        self._server_away -= 1

    def _stop_server(self, _who, how):
        if self._server_away:
            return False
        self._server_away += 1
        process = psutil.Process(self._server.pid)
        process.send_signal(signal.SIGSTOP)
        self._later(0.2 + 6 * how, lambda: self._continue_server(process))
        return True

    def _continue_server(self, process):
        process.send_signal(signal.SIGCONT)
        self._server_away -= 1


def _pick(candidates, who):
    """Choose one of those that are there by a number from 0 to 1."""
    return candidates[int(who * len(candidates))] if candidates else None


def _send(process, number):
    if process is None:
        return False
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
        return True
    return False
