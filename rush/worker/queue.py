"""Working through the queue: each result is handed in, and the next task taken, in one round trip."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rush.manager import arguments
from rush.store.events import deadline_after
from rush.store.tasks import NIL, Outcome, Popped

if TYPE_CHECKING:
    from rush.store.session import Flight
    from rush.worker.worker import RushWorker

log = logging.getLogger("rush")

_LOOK = 0.1
"""Seconds between two looks at the stop order, where no supervisor passes it on."""


class QueuedTask:
    """A task of `RushWorker.tasks`, to be finished or failed by its own methods.

    Attributes
    ----------
    key, xs, xs_extra, tries, timeout
        As in `Task`.
    """

    __slots__ = ("_result", "_worker", "key", "timeout", "tries", "xs", "xs_extra")

    def __init__(
        self, worker: "RushWorker", popped: Popped, xs: dict[str, Any], xs_extra: dict[str, Any] | None
    ) -> None:
        self.xs = xs
        self.xs_extra = xs_extra
        self.key = popped.key
        self.tries = popped.tries
        self.timeout = popped.timeout
        self._worker = worker
        self._result: bytes | None = None

    def finish(self, ys: Mapping[str, Any], ys_extra: Mapping[str, Any] | None = None) -> None:
        """Set the result; it is handed in when the loop goes on to the next task, or ends."""
        self._check_open()
        encode = self._worker._codec.encode_fields
        if not isinstance(ys, Mapping):
            raise TypeError(f"ys must be a dict, got {ys!r}")
        self._result = encode(ys, "ys") + (NIL if ys_extra is None else encode(ys_extra, "ys_extra"))

    def fail(self, condition: Any = None) -> None:
        """Fail the task now, and store why."""
        self._check_open()
        self._result = b""
        self._worker.fail_tasks([self.key], None if condition is None else [condition])

    def _check_open(self) -> None:
        if self._result is not None:
            raise ValueError(f"task {self.key!r} has its result already")

    def _outcome(self) -> Outcome | None:
        """Give the result that is to be handed in; fail a task that has none."""
        if self._result is None:
            self.fail("its loop went on without finishing it")
        return Outcome(self.key, self._result) if self._result else None


def iterate(worker: "RushWorker", *, prefetch: bool, timeout: float | None) -> Iterator[QueuedTask]:
    """Yield tasks, and hand in the result of each when the next is asked for."""
    stream = _Stream(worker, arguments.seconds(timeout))
    return stream.run(stream.pipelined if prefetch else stream.fused)


class _Stream:
    """One pass over the queue."""

    def __init__(self, worker: "RushWorker", timeout: float | None) -> None:
        self._worker = worker
        self._tasks = worker._tasks
        self._timeout = timeout
        self._next_look = 0.0
        self._sent: tuple[Flight, Outcome | None, str] | None = None

    def run(self, step: Callable[[Outcome | None], Popped | None]) -> Iterator[QueuedTask]:
        """Yield the tasks that `step`, given the last one's result, takes; hand in the last result at the end."""
        worker = self._worker
        task: QueuedTask | None = None
        outcome: Outcome | None = None
        try:
            while (popped := step(outcome)) is not None:
                outcome = None
                if (fields := worker._fields_of(popped)) is None:
                    continue
                task = QueuedTask(worker, popped, *fields)
                worker._began(popped.key, popped.timeout)
                yield task
                outcome = task._outcome()
                worker._over((task.key,))
        except GeneratorExit:
            if task is not None:
                self._hand_in(task._outcome())
            self._put_back()
            raise

    def fused(self, outcome: Outcome | None) -> Popped | None:
        """Finish and pop in one step."""
        if self._told_to_stop():
            self._hand_in(outcome)
            return None
        return self._finish_pop(outcome) or self._wait()

    def pipelined(self, outcome: Outcome | None) -> Popped | None:
        """Keep one request in flight, and one task waiting."""
        if self._told_to_stop():
            self._put_back()
            self._hand_in(outcome)
            return None
        waiting = self._collect()
        if waiting is None:
            waiting, outcome = self._finish_pop(outcome) or self._wait(), None
        if waiting is not None:
            self._sent = self._tasks.post_finish_pop(outcome, waiting.key), outcome, waiting.key
        return waiting

    def _finish_pop(self, outcome: Outcome | None) -> Popped | None:
        if outcome is None:
            return self._tasks.pop()
        moved, popped = self._tasks.finish_pop(outcome)
        _warn(outcome, moved)
        return popped

    def _collect(self) -> Popped | None:
        """Give the task that the request in flight has brought."""
        sent, self._sent = self._sent, None
        if sent is None:
            return None
        moved, waiting = self._tasks.collect_finish_pop(*sent)
        _warn(sent[1], moved)
        return waiting

    def _put_back(self) -> None:
        """Keep the task that waits here for this worker's next pop."""
        if (waiting := self._collect()) is not None:
            self._tasks.session.put_back(waiting.key)

    def _told_to_stop(self) -> bool:
        if self._worker._link is None:
            now = time.monotonic()
            if now < self._next_look:
                return False
            self._next_look = now + _LOOK
        return self._worker.terminated

    def _wait(self) -> Popped | None:
        if self._timeout == 0:
            return None
        return self._worker._wait_and_pop(deadline_after(self._timeout))

    def _hand_in(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            _warn(outcome, self._tasks.finish([outcome.key], [outcome.tail]) == b"\1")


def _warn(outcome: Outcome | None, moved: bool) -> None:  # noqa: FBT001 - the store's own answer
    if not moved and outcome is not None:
        log.warning("tasks: %s was not running here any more; its result is dropped", outcome.key)
