"""The supervisor: heartbeats, orders, limits of time, and the news of how loops end."""

import contextlib
import logging
import os
import secrets
import select
import selectors
import signal
import sys
import tempfile
import time
from collections.abc import Sequence

from rush.config import RedisConfig, job_end_time
from rush.errors import RushError
from rush.model import Cut, Ending, LoopSpec, StopKind
from rush.store import Store
from rush.supervisor.contact import Contact, patience
from rush.supervisor.crew import Crew, LoopState
from rush.supervisor.drain import Walltime
from rush.supervisor.loop import check_versions
from rush.supervisor.orders import Assignment

log = logging.getLogger("rush.supervisor")

LAST_WORDS = 30.0
LAST_WORDS_AFTER_MANAGER = 2.0
_SOON = 0.05
_GAP = 2.0
_LONGEST_SLEEP = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)


class Supervisor:
    """Runs the loops of some workers of one network. It is single-threaded and never imports user code.

    Parameters
    ----------
    config, network_id, loop_id, worker_ids
        Where the loop is stored, which one it is (the one stored last if None), and for which workers it runs.
    supervised
        Whether all end when standard input is closed.
    folder
        Where the loops' output goes; by default a new temporary folder.
    """

    def __init__(
        self,
        config: RedisConfig,
        network_id: str,
        loop_id: str | None,
        worker_ids: Sequence[str],
        *,
        supervised: bool = False,
        folder: str | None = None,
    ) -> None:
        self.id = f"supervisor-{secrets.token_hex(8)}"
        self._config = config
        self._contact = Contact(config, network_id, self.id)
        self._network_id = network_id
        self._loop_id = loop_id
        self._worker_ids = tuple(worker_ids)
        self._supervised = supervised
        self._folder = folder
        self._selector = selectors.DefaultSelector()
        self._wakeup = -1
        self._signalled = False
        self._kill_at: float | None = None
        self._beat_at = 0.0
        self._last_turn = time.monotonic()
        self._order_fd: int | None = None
        self._last_words = LAST_WORDS

    def run(self) -> int:
        """Run the loops to their end; give the process's exit code: 1 if a worker ended otherwise than it should."""
        try:
            spec = self._read_spec()
        except KeyError as error:
            raise RushError(error.args[0]) from None
        folder = self._folder or tempfile.mkdtemp(prefix=f"rush-{self._network_id[:32]}-")
        self._walltime = Walltime(spec, job_end_time(), time.time())
        self._spec = spec
        self._crew = Crew(self._assignment(spec, folder), self._contact)
        misfit = check_versions(spec)
        if misfit is not None:
            self._crew.give_up(misfit)
            return self._finish()
        if self._folder is None:
            log.info("the output of the loops goes to %s", folder)
        self._hear_signals()
        self._selector.register(self._crew.news.reader, selectors.EVENT_READ, self._crew.hear)
        if self._supervised:
            self._selector.register(0, selectors.EVENT_READ, self._on_manager)
        self._crew.start()
        while self._crew.alive:
            self._turn()
        return self._finish()

    def _assignment(self, spec: LoopSpec, folder: str) -> Assignment:
        return Assignment(
            config=self._config,
            network_id=self._network_id,
            spec=spec,
            worker_ids=self._worker_ids,
            token=secrets.token_hex(8),
            supervisor_id=self.id,
            folder=folder,
            ends_at=self._walltime.ends_at,
        )

    def _read_spec(self) -> LoopSpec:
        """Read the loop; a server that is away is waited for, as there is nothing else to see to yet."""
        store = Store(self._config, self._network_id)
        try:
            spec = store.read_loop(self._loop_id)
        finally:
            store.close()
        self._contact.store.epoch = store.epoch
        return spec

    def _hear_signals(self) -> None:
        """Have signals arrive as bytes on a pipe, one for each."""
        self._wakeup, writer = os.pipe()
        for descriptor in (self._wakeup, writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*_SIGNALS, signal.SIGCHLD):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda *_: None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._on_signals)

    def _turn(self) -> None:
        """Wait for the next thing to happen, and see to it."""
        self._watch_orders()
        for key, _ in self._selector.select(self._sleep()):
            key.data()
        now = time.monotonic()
        if now - self._last_turn > _LONGEST_SLEEP + _GAP:
            self._beat_at = now
        self._last_turn = now
        if self._crew.fresh:
            self._crew.fresh = False
            # An order may have come before the news that its worker has registered.
            self._beat_at = min(self._beat_at, now + _SOON)
        self._enforce_limits(now)
        if self._contact.may_try(now):
            self._contact.send_reports()
        if now >= self._beat_at and self._contact.may_try(now):
            self._beat()
        if self._contact.scan_at is not None and now >= self._contact.scan_at and not self._contact.away:
            for worker in self._contact.scan():
                log.warning("worker %s is lost", worker)

    def _sleep(self) -> float:
        contact = self._contact
        times = [self._kill_at, self._walltime.drain_at(), contact.retry_at]
        times += [None, None] if contact.away else [contact.scan_at, self._beat_at]
        for loop in self._crew.loops:
            times.append(loop.kill_at)
            times += [at for at, _ in loop.deadlines.values()]
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
            self._last_words = LAST_WORDS_AFTER_MANAGER
            self._kill_all("the process that it is tied to ended")

    def _on_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._wakeup, 4096):
                if number == signal.SIGCHLD:
                    self._crew.check_zygote()
                elif number in _SIGNALS:
                    self._on_stop_signal(number)

    def _on_stop_signal(self, number: int) -> None:
        """Drain at the first, kill at the second; what drains for another reason gets no more than the grace period."""
        reason = f"told to stop by {signal.Signals(number).name}"
        if self._signalled and number != signal.SIGUSR2:
            self._kill_all(self._crew.closing or reason, Cut.SIGNAL)
            return
        self._signalled = self._signalled or number != signal.SIGUSR2
        kill_at = time.monotonic() + self._spec.grace_period
        if self._crew.closing is None:
            self._drain(reason, kill_at, Cut.SIGNAL)
        elif self._kill_at is not None:
            self._kill_at = min(self._kill_at, kill_at)

    def _drain(self, reason: str, kill_at: float, cut: Cut | None = None) -> None:
        self._crew.closing, self._kill_at = reason, kill_at
        log.warning("draining: %s", reason)
        self._crew.tell_to_stop(self._crew.alive, cut)

    def _kill_all(self, reason: str, cut: Cut | None = None) -> None:
        self._crew.closing, self._kill_at = reason, None
        for loop in self._crew.alive:
            self._crew.kill(loop, Ending(reason, uses_try=False, cut=cut and self._crew.slots.cut(loop.index)))

    def _enforce_limits(self, now: float) -> None:
        crew, grace = self._crew, self._spec.grace_period
        if crew.closing is None and (at := self._walltime.drain_at()) is not None and now >= at:
            self._drain("its time limit is near", self._walltime.kill_at(grace), Cut.LIMIT)
        away = self._contact.away_for(now)
        if crew.closing is None and away > patience(self._config):
            self._drain(f"the server at {self._config.address} has not answered for {away:.0f} s", now + grace)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            for loop in crew.alive:
                self._end_grace(loop, crew.closing or "told to stop")
        for loop in crew.alive:
            if loop.kill_at is not None and now >= loop.kill_at:
                loop.kill_at = None
                self._end_grace(loop, "told to stop by a signal")
            self._enforce_deadlines(loop, now)
        self._end_idle(now)

    def _end_grace(self, loop: LoopState, reason: str) -> None:
        pays = self._walltime.drained and self._walltime.overran(*self._crew.slots.task(loop.index))
        cut = self._crew.slots.cut(loop.index)
        self._crew.kill(loop, Ending(f"killed after its grace period: {reason}", uses_try=pays, cut=cut))

    def _enforce_deadlines(self, loop: LoopState, now: float) -> None:
        for key, (at, limit) in list(loop.deadlines.items()):
            if now >= at:
                del loop.deadlines[key]
                again = self._crew.closing is None
                self._crew.kill(loop, Ending(f"timed out after {limit:g} s", uses_try=True, respawn=again, key=key))

    def _end_idle(self, now: float) -> None:
        limit = self._spec.idle_timeout
        if limit is None:
            return
        idle = []
        for loop in self._crew.alive:
            busy, since = self._crew.slots.task(loop.index)
            if not busy and now - since > limit and not self._crew.slots.told_to_stop(loop.index):
                log.info("worker %s has had no task for %g s and is told to stop", loop.worker_id, limit)
                idle.append(loop)
        self._crew.tell_to_stop(idle)

    def _beat(self) -> None:
        self._crew.look_at_memory()
        reply = self._contact.beat(self._crew.beats())
        now = time.monotonic()
        if reply is None:
            self._beat_at = self._contact.retry_at or now
            return
        self._beat_at = now + self._spec.heartbeat_period
        if reply.gone:
            log.error("network %s was reset, or its server has lost it; ending all workers", self._network_id)
            self._crew.failed = True
            self._last_words = LAST_WORDS_AFTER_MANAGER
            self._kill_all("its network was reset or lost by its server")
            return
        self._crew.refuse(reply.refused)
        told = []
        for loop in self._crew.alive:
            order = reply.stops.get(loop.worker_id)
            if order is StopKind.KILL:
                self._crew.kill(loop, Ending("killed by stop_workers", uses_try=False))
            elif order is StopKind.TERMINATE:
                told.append(loop)
        self._crew.tell_to_stop(told)
        for key, worker in reply.cancelled:
            self._cancel(key, worker)

    def _cancel(self, key: str, worker: str) -> None:
        """End the loop that is still at work on a cancelled task: it is frozen while the store is asked."""
        crew, store = self._crew, self._contact.store
        for loop in crew.alive:
            if loop.worker_id != worker or loop.pid is None or loop.ending is not None:
                continue
            crew.signal(loop, signal.SIGSTOP)
            if self._contact.attempt(lambda: store.still_running(worker, key)):
                crew.kill(loop, Ending("its task was cancelled", uses_try=False, respawn=crew.closing is None))
            else:
                crew.signal(loop, signal.SIGCONT)

    def _finish(self) -> int:
        """See to it that the last reports arrive, unless a signal says that there is no time."""
        deadline = time.monotonic() + self._last_words
        self._contact.send_reports()
        while self._contact.reports and time.monotonic() < deadline:
            if self._wakeup >= 0 and select.select([self._wakeup], [], [], 0.2)[0]:
                signals = set(os.read(self._wakeup, 4096))
                if signals & set(_SIGNALS):
                    break
            self._contact.send_reports()
        for report in self._contact.reports:
            log.error("worker %s: %s; the server could not be told", report.worker_id, report.ending.reason)
        self._crew.close()
        self._contact.close()
        sys.stderr.flush()
        well = not (self._crew.failed or self._contact.reports)
        if well:
            self._crew.remove_folder(own=self._folder is None)
        return 0 if well else 1
