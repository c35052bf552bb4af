"""The loops of one supervisor: starting them, telling them to stop, killing them, and reporting how they end."""

import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rush.backends.processes import exit_phrase, tail_of
from rush.model import Cut, Ending
from rush.store import Beat
from rush.supervisor.contact import Contact, Report
from rush.supervisor.messages import News
from rush.supervisor.orders import Assignment
from rush.supervisor.platform import memory_kills
from rush.supervisor.slots import Slots
from rush.supervisor.zygote import Zygote

log = logging.getLogger("rush.supervisor")

TAIL_LINES = 50
MOST_ZYGOTES = 6


@dataclass
class LoopState:
    """What the supervisor knows of one worker's loop.

    Attributes
    ----------
    pid
        Its process; None before it is forked.
    incarnation
        Under which it writes, and its heartbeat is sent; None before it has registered.
    alive
        Whether there is, or will be, a loop.
    respawning
        One has ended, and the next waits until the store knows.
    between
        The store knows, and the next has not registered yet.
    known
        The loop itself has told the store that it returned.
    ending
        Why it has been killed.
    deadlines
        When its tasks with a time limit must have ended, and that limit, by key.
    """

    index: int
    worker_id: str
    pid: int | None = None
    incarnation: int | None = None
    alive: bool = True
    respawning: bool = False
    between: bool = False
    restarts: int = 0
    returned: bool = False
    known: bool = False
    error: str | None = None
    ending: Ending | None = None
    kill_at: float | None = None
    deadlines: dict[str, tuple[float, float]] = field(default_factory=dict)


OWN_OUTPUT = {"supervisor.out", "supervisor.err"}
"""Where a supervisor's own output goes, in a folder that was made for it alone."""


class Crew:
    """All loops of a supervisor, and the zygote that starts them.

    Attributes
    ----------
    closing
        Why no fresh loop takes the place of one that ends; None while one does.
    failed
        Whether a worker has ended otherwise than it should.
    """

    def __init__(self, assignment: Assignment, contact: Contact) -> None:
        self.loops = [LoopState(index, worker) for index, worker in enumerate(assignment.worker_ids)]
        self.slots = Slots(len(self.loops))
        self.news = News()
        self.closing: str | None = None
        self.failed = False
        self.fresh = False
        self._assignment = assignment
        self._spec = assignment.spec
        self._contact = contact
        self._zygote: Zygote | None = None
        self._zygotes = 0
        self._memory_kills = deque([memory_kills()], maxlen=2)

    @property
    def alive(self) -> list[LoopState]:
        """The loops that run, or will."""
        return [loop for loop in self.loops if loop.alive]

    def start(self) -> None:
        """Start all loops."""
        zygote = self._new_zygote()
        for loop in self.loops:
            zygote.start(loop.index)

    def beats(self) -> list[Beat]:
        """Give the heartbeats that are to be sent."""
        expire = self._spec.heartbeat_expire
        return [
            Beat(loop.worker_id, loop.incarnation or 0, expire)
            for loop in self.loops
            if loop.alive and (loop.incarnation is not None or loop.between)
        ]

    def refuse(self, workers: Sequence[str]) -> None:
        """Send no more heartbeats for these workers until they register again."""
        for loop in self.loops:
            if loop.worker_id in workers:
                if loop.incarnation is not None:
                    log.warning(
                        "worker %s was declared lost; its loop registers again at its next step", loop.worker_id
                    )
                loop.incarnation, loop.between = None, False

    def look_at_memory(self) -> None:
        """Note now and then how many processes the kernel has killed for memory, so that only recent ones count."""
        self._memory_kills.append(memory_kills())

    def tell_to_stop(self, loops: Sequence[LoopState], cut: Cut | None = None) -> None:
        """Make `worker.terminated` true for these loops, and wake those that wait for a task."""
        told = [loop for loop in loops if loop.alive and not self.slots.told_to_stop(loop.index)]
        for loop in told:
            self.slots.tell_to_stop(loop.index, cut)
        if told:
            self._contact.attempt(lambda: self._contact.store.poke(*(loop.worker_id for loop in told)))

    def kill(self, loop: LoopState, ending: Ending) -> None:
        """Kill a loop with all it has started; its end is reported when it is seen."""
        if not loop.alive or loop.ending is not None:
            return
        if loop.pid is not None or loop.respawning:
            loop.ending = ending
            self.signal(loop, signal.SIGKILL)
        else:
            self.slots.bar(loop.index)
            self._over(loop, replace(ending, respawn=False))

    def signal(self, loop: LoopState, number: int) -> None:
        """Send a signal to a loop and all it has started."""
        if loop.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(loop.pid, number)

    def hear(self) -> None:
        """Read what the loops and the zygote have to say."""
        for message in self.news.read_all():
            if message["kind"] == "unusable":
                self.give_up(message["reason"], message["tail"])
            else:
                self._note(self.loops[message["index"]], message)

    def give_up(self, reason: str, tail: str = "") -> None:
        """End all workers, none of which can start."""
        self.failed = True
        self.closing = self.closing or reason
        if tail:
            print(tail, file=sys.stderr)  # noqa: T201 - for the log file
        for loop in self.alive:
            if loop.pid is None and not loop.respawning:
                self._over(loop, Ending(reason, uses_try=False, tail=tail))

    def check_zygote(self) -> None:
        """Notice that the zygote has died: its loops died with it; those that may be restarted begin under another."""
        zygote = self._zygote
        code = None if zygote is None else zygote.ended()
        if zygote is None or code is None:
            return
        self.hear()
        tail = zygote.tail(TAIL_LINES)
        zygote.close()
        self._zygote = None
        left = self.alive
        if not left:
            return
        reason = f"its zygote {'was ' if code < 0 else ''}{exit_phrase(code)}"
        log.error("%s; its loops end", reason)
        works = any(loop.incarnation is not None or loop.restarts for loop in left)
        fresh = self._new_zygote() if works and self.closing is None and self._zygotes < MOST_ZYGOTES else None
        for loop in left:
            again = fresh is not None and loop.restarts < self._spec.max_restarts
            self._orphan(loop, Ending(reason, uses_try=True, tail=tail, respawn=again), fresh)

    def close(self) -> None:
        """Let the zygote go, and remove files that nothing was written to."""
        if self._zygote is not None:
            self._zygote.close()
        for loop in self.loops:
            for path in self._assignment.output_paths(loop.worker_id):
                with contextlib.suppress(OSError):
                    if os.path.getsize(path) == 0:  # noqa: PTH202 - plain check
                        os.unlink(path)  # noqa: PTH108 - as above

    def remove_folder(self, *, own: bool) -> None:
        """Remove a folder that was made for this supervisor, unless its loops have written something.

        Such is its `own`, and one in which its output goes; any other folder is somebody's.
        """
        folder = Path(self._assignment.folder)
        with contextlib.suppress(OSError):
            left = {path.name for path in folder.iterdir()}
            if left <= OWN_OUTPUT and (own or left):
                for name in left:
                    (folder / name).unlink()
                folder.rmdir()

    def _new_zygote(self) -> Zygote:
        self._zygotes += 1
        self._zygote = Zygote(self._assignment, self.slots, self.news.writer)
        return self._zygote

    def _orphan(self, loop: LoopState, ending: Ending, fresh: Zygote | None) -> None:
        """See to a loop whose zygote has died."""
        self.signal(loop, signal.SIGKILL)
        loop.pid = None
        loop.deadlines.clear()
        if loop.respawning:
            return
        if fresh is not None and loop.incarnation is None:
            fresh.start(loop.index)
        else:
            loop.restarts += 1
            self.failed = self.failed or not ending.respawn
            self._over(loop, loop.ending or ending)

    def _note(self, loop: LoopState, message: dict[str, Any]) -> None:  # noqa: C901 - one case a kind of news
        match message["kind"]:
            case "started":
                loop.pid = message["pid"]
                if not loop.alive:
                    self.signal(loop, signal.SIGKILL)
            case "registered":
                loop.incarnation, loop.between = message["incarnation"], False
                self.fresh = True
                if self.slots.told_to_stop(loop.index):
                    self._contact.attempt(lambda: self._contact.store.poke(loop.worker_id))
            case "deadline":
                loop.deadlines[message["key"]] = (message["at"], message["timeout"])
            case "over":
                loop.deadlines.pop(message["key"], None)
            case "returned":
                loop.returned = True
            case "known":
                loop.known = True
            case "error":
                loop.error = message["reason"]
            case "signal":
                self._hand_on(loop, message["number"])
            case "exited" if message["pid"] == loop.pid and loop.alive:
                self._on_exit(loop, message["code"])

    def _hand_on(self, loop: LoopState, number: int) -> None:
        """Drain a loop that was told to stop by a signal of its own, unless all are being drained anyway."""
        if self.closing is None and loop.kill_at is None:
            log.warning("worker %s: told to stop by %s", loop.worker_id, signal.Signals(number).name)
            loop.kill_at = time.monotonic() + self._spec.grace_period
            self.tell_to_stop([loop], Cut.SIGNAL)

    def _on_exit(self, loop: LoopState, code: int) -> None:
        ending, cut = loop.ending, self.slots.cut(loop.index)
        if ending is None and code == 0 and loop.returned:
            ending = Ending("its loop returned", uses_try=False, cut=cut)
        elif ending is None:
            reason = loop.error or self._phrase(code)
            again = loop.restarts < self._spec.max_restarts and self.closing is None and loop.incarnation is not None
            loop.restarts += 1
            ending = Ending(reason, uses_try=True, tail=self._stderr_of(loop), respawn=again, cut=cut)
            self.failed = self.failed or not again
        self._over(loop, ending)

    def _phrase(self, code: int) -> str:
        """Say how a loop ended that nobody here has ended; the kernel only counts those that it kills for memory."""
        starved = code == -signal.SIGKILL and memory_kills() > self._memory_kills[0]
        return exit_phrase(code) + (", it seems because memory ran out" if starved else "")

    def _stderr_of(self, loop: LoopState) -> str:
        tail = tail_of(self._assignment.output_paths(loop.worker_id)[1], TAIL_LINES)
        if not tail and loop.incarnation is None and self._zygote is not None:
            tail = self._zygote.tail(TAIL_LINES)
        if tail:
            print(tail, file=sys.stderr)  # noqa: T201 - for the log file
        return tail

    def _over(self, loop: LoopState, ending: Ending) -> None:
        """Report how a loop ended; where a fresh one takes its place, start it once the store knows."""
        level = logging.WARNING if ending.uses_try or self.failed else logging.INFO
        log.log(level, "worker %s: %s%s", loop.worker_id, ending.reason, "; starting anew" if ending.respawn else "")
        report = Report(loop.worker_id, loop.incarnation, ending)
        loop.incarnation = loop.error = loop.ending = loop.kill_at = loop.pid = None
        known, loop.known, loop.returned = loop.known, False, False
        loop.deadlines.clear()
        if ending.respawn:
            loop.respawning = True
            report.then = lambda: self._respawn(loop)
        else:
            loop.alive = False
            if known:
                return
        self._contact.report(report)

    def _respawn(self, loop: LoopState) -> None:
        """Have a fresh loop take a worker's place, unless it is not wanted any more."""
        loop.respawning = False
        ending = loop.ending
        if ending is None and (self.closing is not None or self._zygote is None):
            ending = Ending(self.closing or "its zygote has ended", uses_try=False)
        if ending is None and self._zygote is not None:
            loop.between = True
            self.slots.clear(loop.index)
            self._zygote.start(loop.index)
        elif ending is not None:
            self._over(loop, replace(ending, respawn=False))
