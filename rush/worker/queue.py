"""Working through the queue: each result is handed in, and the next task taken, in one round trip."""

import logging
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rush.manager import arguments
from rush.model import Task
from rush.store.events import deadline_after
from rush.store.tasks import NIL, Outcome, Popped

if TYPE_CHECKING:
    from rush.store.session import Flight
    from rush.worker.worker import RushWorker

log = logging.getLogger("rush")

BOTH = ("xs", "xs_extra")

Source = Generator[Popped, Outcome | None, None]


class QueuedTask:
    """A task of `RushWorker.tasks`, to be finished or failed by its own methods.

    Attributes
    ----------
    key, xs, xs_extra, tries, timeout
        As in `Task`.
    """

    __slots__ = ("_result", "_worker", "key", "timeout", "tries", "xs", "xs_extra")

    def __init__(self, worker: "RushWorker", task: Task) -> None:
        self._worker = worker
        self._result: bytes | None = None
        self.key = task.key
        self.xs: dict[str, Any] = task.xs or {}
        self.xs_extra = task.xs_extra
        self.tries = task.tries
        self.timeout = task.timeout

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
        if not self._result:
            return None
        return Outcome(self.key, self._result)


def iterate(worker: "RushWorker", *, prefetch: bool, timeout: float | None) -> Iterator[QueuedTask]:
    """Yield tasks, and hand in the result of each when the next is asked for."""
    limit = arguments.seconds(timeout)
    return _Stream(worker, limit).run(prefetch=prefetch)


class _Stream:
    """One pass over the queue."""

    def __init__(self, worker: "RushWorker", timeout: float | None) -> None:
        self._worker = worker
        self._timeout = timeout

    def run(self, *, prefetch: bool) -> Iterator[QueuedTask]:
        task: QueuedTask | None = None
        source = self._pipelined() if prefetch else self._fused()
        try:
            outcome = None
            while (popped := source.send(outcome) if task is not None else next(source)) is not None:
                task = self._begin(popped)
                yield task
                outcome = task._outcome()
                task._worker._over([task.key])
        except StopIteration:
            return
        except GeneratorExit:
            self._leave(task)
            raise
        finally:
            source.close()

    def _begin(self, popped: Popped) -> QueuedTask:
        return QueuedTask(self._worker, self._worker._task_of(popped, BOTH))

    def _leave(self, task: QueuedTask | None) -> None:
        """Hand in the result of the task at which the caller broke off the loop."""
        if task is not None and (outcome := task._outcome()) is not None:
            _warn(outcome, _finish(self._worker, outcome))

    def _wait(self) -> Popped | None:
        if self._timeout == 0:
            return None
        return self._worker._wait_and_pop(deadline_after(self._timeout))

    def _fused(self) -> Source:
        """Finish and pop in one step."""
        tasks = self._worker._tasks
        outcome: Outcome | None = None
        while True:
            if self._worker.terminated:
                if outcome is not None:
                    _warn(outcome, _finish(self._worker, outcome))
                return
            moved, popped = tasks.finish_pop(outcome)
            _warn(outcome, moved)
            popped = popped or self._wait()
            if popped is None:
                return
            outcome = yield popped

    def _pipelined(self) -> Source:
        """Keep one request in flight, and one task waiting."""
        tasks = self._worker._tasks
        current = tasks.pop() or self._wait()
        flight: Flight | None = None
        sent: Outcome | None = None
        if current is not None:
            flight = tasks.post_finish_pop(None, "")
        while current is not None:
            outcome = yield current
            waiting = None
            if flight is not None:
                moved, waiting = tasks.collect_finish_pop(flight, sent)
                _warn(sent, moved)
            if self._worker.terminated:
                self._hand_back(outcome)
                return
            if waiting is None:
                moved, waiting = tasks.finish_pop(outcome)
                _warn(outcome, moved)
                current, sent, flight = waiting or self._wait(), None, None
                if current is not None:
                    flight = tasks.post_finish_pop(None, "")
            else:
                flight, sent, current = tasks.post_finish_pop(outcome, waiting.key), outcome, waiting

    def _hand_back(self, outcome: Outcome | None) -> None:
        if outcome is not None:
            _warn(outcome, _finish(self._worker, outcome))


def _finish(worker: "RushWorker", outcome: Outcome) -> bool:
    return worker._tasks.finish([outcome.key], [outcome.tail]) == [1]


def _warn(outcome: Outcome | None, moved: bool) -> None:  # noqa: FBT001 - the store's own answer
    if outcome is not None and not moved:
        log.warning("tasks: %s was not running here any more; its result is dropped", outcome.key)
