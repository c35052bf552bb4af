"""The supervisor: heartbeats, orders, deadlines, and the news of how loops end."""

import contextlib
import logging
import os
import secrets
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rush.backends.processes import exit_phrase, tail_of
from rush.config import RedisConfig, job_end_time
from rush.errors import RushError
from rush.model import Ending, LoopSpec, StopKind
from rush.store import Beat
from rush.supervisor.contact import Contact, Report
from rush.supervisor.drain import Walltime
from rush.supervisor.loop import check_versions
from rush.supervisor.messages import News
from rush.supervisor.orders import Assignment
from rush.supervisor.slots import Slots
from rush.supervisor.zygote import Zygote

log = logging.getLogger("rush.supervisor")

TAIL_LINES = 50
LAST_WORDS = 30.0
_GAP = 2.0
_LONGEST_SLEEP = 1.0


@dataclass
class LoopState:
    """What the supervisor knows of one worker's loop."""

    index: int
    worker_id: str
    pid: int | None = None
    incarnation: int | None = None
    alive: bool = True
    respawning: bool = False
    restarts: int = 0
    error: str | None = None
    ending: Ending | None = None
    deadlines: dict[str, tuple[float, float]] = field(default_factory=dict)


class Supervisor:
    """Runs the loops of some workers of one network. It is single-threaded and never imports user code."""

    def __init__(
        self, config: RedisConfig, network_id: str, loop_id: str | None, worker_ids: Sequence[str],
        *, supervised: bool = False, folder: str | None = None,
    ) -> None:
        self.id = f"supervisor-{secrets.token_hex(8)}"
        self._config = config
        self._contact = Contact(config, network_id, self.id)
        self._network_id = network_id
        self._loop_id = loop_id
        self._supervised = supervised
        self._folder = folder or tempfile.mkdtemp(prefix="rush-worker-")
        self._loops = [LoopState(index, worker) for index, worker in enumerate(worker_ids)]
        self._slots = Slots(len(self._loops))
        self._news = News()
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._draining: str | None = None
        self._kill_at: float | None = None
        self._beat_at = 0.0
        self._failed = False
        self._last_turn = time.monotonic()
        self._order_fd: int | None = None

    def run(self) -> int:
        """Run the loops to their end; give the process's exit code."""
        try:
            spec = self._read_spec()
        except (RushError, KeyError) as error:
            print(f"rush: {error}", file=sys.stderr)  # noqa: T201 - the command's own error
            return 1
        self._spec = spec
        self._walltime = Walltime(spec, job_end_time(), time.time())
        self._assignment = Assignment(
            config=self._config,
            network_id=self._network_id,
            spec=spec,
            worker_ids=tuple(loop.worker_id for loop in self._loops),
            token=secrets.token_hex(8),
            supervisor_id=self.id,
            folder=self._folder,
            ends_at=self._walltime.ends_at,
        )
        if (misfit := check_versions(spec)) is not None:
            self._give_up(misfit, "")
            return self._finish()
        self._hear_signals()
        self._zygote: Zygote | None = self._new_zygote()
        for loop in self._loops:
            self._zygote.start(loop.index)
        self._selector.register(self._news.reader, selectors.EVENT_READ, self._on_news)
        if self._supervised:
            self._selector.register(0, selectors.EVENT_READ, self._on_manager)
        while any(loop.alive for loop in self._loops):
            self._turn()
        return self._finish()

    def _read_spec(self) -> LoopSpec:
        deadline = time.monotonic() + self._config.retry_timeout
        while True:
            spec = self._contact.attempt(lambda: self._contact.store.read_loop(self._loop_id))
            if spec is not None:
                return spec
            if time.monotonic() > deadline:
                raise RushError(f"cannot reach the server at {self._config.address}")
            time.sleep(0.2)

    def _new_zygote(self) -> Zygote:
        return Zygote(self._assignment, self._slots, self._news.writer)

    def _hear_signals(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGCHLD):
            signal.signal(number, lambda got, _frame: self._signals.append(got))
        self._selector.register(reader, selectors.EVENT_READ, lambda: os.read(reader, 4096))

    def _turn(self) -> None:
        """Wait for the next thing to happen, and see to it."""
        self._watch_orders()
        for key, _ in self._selector.select(self._sleep()):
            key.data()
        now = time.monotonic()
        if now - self._last_turn > _LONGEST_SLEEP + _GAP:
            self._contact.note_gap()
            self._beat_at = now
        self._last_turn = now
        self._on_signals()
        self._enforce_limits(now)
        if self._contact.retry_at is not None and now >= self._contact.retry_at:
            self._contact.send_reports()
            self._beat_at = now if self._contact.retry_at is None or now >= self._contact.retry_at else self._beat_at
        if now >= self._beat_at:
            self._beat()
        if self._contact.scan_at is not None and now >= self._contact.scan_at and not self._contact.away:
            for worker in self._contact.scan():
                log.warning("worker %s is lost", worker)

    def _sleep(self) -> float:
        times = [self._beat_at, self._kill_at, self._walltime.drain_at(), self._contact.retry_at]
        times.append(None if self._contact.away else self._contact.scan_at)
        times += [at for loop in self._loops for at, _ in loop.deadlines.values()]
        now = time.monotonic()
        return max(0.0, min(_LONGEST_SLEEP, *(at - now for at in times if at is not None)))

    def _watch_orders(self) -> None:
        """Keep the order channel's present descriptor among those that are waited on."""
        current = self._contact.orders.fileno() if self._contact.listening else None
        if current == self._order_fd:
            return
        if self._order_fd is not None:
            with contextlib.suppress(KeyError, ValueError, OSError):
                self._selector.unregister(self._order_fd)
        if current is not None:
            self._selector.register(current, selectors.EVENT_READ, self._on_order)
        self._order_fd = current

    def _on_order(self) -> None:
        self._contact.heard()
        self._beat_at = 0.0

    def _on_manager(self) -> None:
        """Notice that the manager, which holds the other end of standard input, is gone."""
        if not os.read(0, 4096):
            self._selector.unregister(0)
            self._draining = "its manager ended"
            self._kill_all(Ending("its manager ended", uses_try=False))

    def _on_signals(self) -> None:
        numbers, self._signals = self._signals, []
        for number in numbers:
            if number == signal.SIGCHLD:
                self._check_zygote()
            elif self._draining is not None and number != signal.SIGUSR2:
                self._kill_all(Ending(self._draining, uses_try=False))
            elif self._draining is None:
                name = signal.Signals(number).name
                self._drain(f"told to stop by {name}", time.monotonic() + self._spec.grace_period)

    def _drain(self, reason: str, kill_at: float) -> None:
        self._draining, self._kill_at = reason, kill_at
        log.warning("draining: %s", reason)
        alive = [loop for loop in self._loops if loop.alive]
        for loop in alive:
            self._slots.tell_to_stop(loop.index)
        self._contact.attempt(lambda: self._contact.store.poke(*(loop.worker_id for loop in alive)))

    def _enforce_limits(self, now: float) -> None:
        if self._draining is None and (at := self._walltime.drain_at()) is not None and now >= at:
            self._drain("its time limit is near", self._walltime.kill_at(self._spec.grace_period))
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            for loop in self._loops:
                pays = self._walltime.drained and self._walltime.overran(*self._slots.task(loop.index))
                self._kill(loop, Ending(f"killed after its grace period: {self._draining}", uses_try=pays))
        for loop in self._loops:
            for key, (at, limit) in list(loop.deadlines.items()):
                if now >= at:
                    del loop.deadlines[key]
                    reason = f"timed out after {limit:g} s"
                    self._kill(loop, Ending(reason, uses_try=True, respawn=self._draining is None, key=key))
        self._end_idle(now)

    def _end_idle(self, now: float) -> None:
        limit = self._spec.idle_timeout
        if limit is None:
            return
        for loop in self._loops:
            busy, since = self._slots.task(loop.index)
            if loop.alive and not busy and now - since > limit and not self._slots.told_to_stop(loop.index):
                log.warning("worker %s has had no task for %g s and ends", loop.worker_id, limit)
                self._slots.tell_to_stop(loop.index)
                self._contact.attempt(lambda loop=loop: self._contact.store.poke(loop.worker_id))  # type: ignore[misc]

    def _beat(self) -> None:
        period = self._spec.heartbeat_period
        beats = [
            Beat(loop.worker_id, loop.incarnation, self._spec.heartbeat_expire)
            for loop in self._loops
            if loop.alive and loop.incarnation is not None
        ]
        reply = self._contact.beat(beats)
        now = time.monotonic()
        if reply is None:
            self._beat_at = self._contact.retry_at or now + period
            return
        self._beat_at = now + period
        if reply.gone:
            self._draining = "its network was reset or lost by its server"
            log.error("network %s was reset, or its server has lost it; ending all workers", self._network_id)
            self._kill_all(Ending(self._draining, uses_try=False))
            return
        for worker in reply.refused:
            log.warning("worker %s was declared lost or replaced; its loop registers again at its next step", worker)
        for loop in self._loops:
            if loop.worker_id in reply.refused:
                loop.incarnation = None
            self._obey(loop, reply.stops.get(loop.worker_id))
        self._cancel(reply.cancelled)

    def _obey(self, loop: LoopState, order: StopKind | None) -> None:
        if order is StopKind.KILL:
            self._kill(loop, Ending("killed by stop_workers", uses_try=False))
        elif order is StopKind.TERMINATE and loop.alive and not self._slots.told_to_stop(loop.index):
            self._slots.tell_to_stop(loop.index)
            self._contact.attempt(lambda: self._contact.store.poke(loop.worker_id))

    def _cancel(self, cancelled: list[tuple[str, str]]) -> None:
        """End the loops that are still at work on a cancelled task, and only those."""
        for key, worker in cancelled:
            for loop in self._loops:
                if loop.worker_id != worker or not loop.alive or loop.pid is None or loop.ending is not None:
                    continue
                self._signal(loop, signal.SIGSTOP)
                if self._contact.attempt(lambda key=key, worker=worker: self._contact.store.still_running(worker, key)):  # type: ignore[misc]
                    self._kill(loop, Ending("its task was cancelled", uses_try=False, respawn=self._draining is None))
                else:
                    self._signal(loop, signal.SIGCONT)

    def _kill_all(self, ending: Ending) -> None:
        self._kill_at = None
        for loop in self._loops:
            self._kill(loop, ending)

    def _kill(self, loop: LoopState, ending: Ending) -> None:
        """Kill a loop with all it has started; its end is reported when it is seen."""
        if not loop.alive or loop.ending is not None:
            return
        loop.ending = ending
        if loop.pid is not None:
            self._signal(loop, signal.SIGKILL)
        elif not loop.respawning:
            self._over(loop, ending)

    def _signal(self, loop: LoopState, number: int) -> None:
        if loop.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(loop.pid, number)

    def _on_news(self) -> None:
        for message in self._news.read_all():
            kind = message["kind"]
            if kind == "unusable":
                self._give_up(message["reason"], message["tail"])
                continue
            loop = self._loops[message["index"]]
            if kind == "started":
                loop.pid = message["pid"]
                if loop.ending is not None:
                    self._signal(loop, signal.SIGKILL)
            elif kind == "registered":
                loop.incarnation = message["incarnation"]
                self._beat_at = min(self._beat_at, time.monotonic() + self._spec.heartbeat_period / 2)
                if self._slots.told_to_stop(loop.index):
                    self._contact.attempt(lambda loop=loop: self._contact.store.poke(loop.worker_id))  # type: ignore[misc]
            elif kind == "deadline":
                loop.deadlines[message["key"]] = (message["at"], message["timeout"])
            elif kind == "over":
                loop.deadlines.pop(message["key"], None)
            elif kind == "error":
                loop.error = message["reason"]
            elif kind == "exited" and message["pid"] == loop.pid:
                self._on_exit(loop, message["code"])

    def _on_exit(self, loop: LoopState, code: int) -> None:
        loop.pid = None
        loop.deadlines.clear()
        tail = tail_of(self._assignment.output_paths(loop.worker_id)[1], TAIL_LINES)
        ending = loop.ending
        if ending is None and code == 0:
            early = loop.incarnation is None
            ending = Ending("its loop ended before it registered" if early else "its loop returned", uses_try=False)
        elif ending is None:
            reason = loop.error or exit_phrase(code)
            again = loop.restarts < self._spec.max_restarts and self._draining is None and loop.incarnation is not None
            loop.restarts += 1
            ending = Ending(reason, uses_try=True, tail=tail, respawn=again)
            self._failed = self._failed or not again
        self._over(loop, ending)

    def _over(self, loop: LoopState, ending: Ending) -> None:
        """Report how a loop ended; where a fresh one takes its place, start it once the store knows."""
        log.warning("worker %s: %s", loop.worker_id, ending.reason)
        report = Report(loop.worker_id, loop.incarnation, ending)
        loop.incarnation, loop.error, loop.ending = None, None, None
        if ending.respawn:
            loop.respawning = True
            report.then = lambda: self._respawn(loop)
        else:
            loop.alive = False
        self._contact.report(report)

    def _respawn(self, loop: LoopState) -> None:
        loop.respawning = False
        if self._draining is not None or self._zygote is None:
            loop.alive = False
            self._contact.reports.append(Report(loop.worker_id, None, Ending(self._draining or "it could not start", uses_try=False)))
            return
        self._slots.clear(loop.index)
        self._zygote.start(loop.index)

    def _give_up(self, reason: str, tail: str) -> None:
        """End all workers, none of which can start."""
        self._failed = True
        if tail:
            print(tail, file=sys.stderr)  # noqa: T201 - for the log file
        for loop in self._loops:
            if loop.alive and loop.pid is None:
                self._over(loop, Ending(reason, uses_try=False, tail=tail))

    def _check_zygote(self) -> None:
        """Notice a zygote that was killed: its loops died with it."""
        zygote = self._zygote
        if zygote is None:
            return
        pid, status = os.waitpid(zygote.pid, os.WNOHANG)
        if pid == 0:
            return
        self._on_news()
        zygote.close()
        self._zygote = None
        code = os.waitstatus_to_exitcode(status)
        left = [loop for loop in self._loops if loop.alive and not loop.respawning]
        if not left:
            return
        log.error("the process that starts loops was %s", exit_phrase(code))
        self._zygote = self._new_zygote()
        for loop in left:
            self._signal(loop, signal.SIGKILL)
            loop.pid = None
            again = loop.restarts < self._spec.max_restarts and self._draining is None
            loop.restarts += 1
            reason = f"the process that started its loop was {exit_phrase(code)}"
            self._over(loop, loop.ending or Ending(reason, uses_try=True, respawn=again and loop.incarnation is not None))

    def _finish(self) -> int:
        """See to it that the last reports arrive."""
        deadline = time.monotonic() + LAST_WORDS
        self._contact.send_reports()
        while self._contact.reports and time.monotonic() < deadline:
            time.sleep(0.2)
            self._contact.send_reports()
        self._contact.close()
        return 1 if self._failed or self._contact.reports else 0
