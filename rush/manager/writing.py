"""Creating, taking, finishing and failing tasks."""

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rush.codec import Untrusted
from rush.errors import CodecError
from rush.manager import arguments
from rush.manager.network import Network
from rush.model import Task, TaskState
from rush.store.events import deadline_after, remaining, wait_for_bell
from rush.store.taskkeys import new_task_key
from rush.store.tasks import NIL, Popped, body

log = logging.getLogger("rush")

POP_FIELDS = ("xs", "xs_extra")
_LONGEST_BLOCK = 10.0


class TaskWriter(Network):
    """The steps that change tasks."""

    def push_tasks(
        self,
        xss: Sequence[Mapping[str, Any]],
        xss_extra: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        max_tries: int = 1,
        timeout: float | None = None,
    ) -> list[str]:
        """Create tasks and put them at the end of the queue.

        Parameters
        ----------
        xss
            The tasks' inputs, one dict each.
        xss_extra
            What else to store with each; one for all, or one each.
        max_tries
            How often a task may be tried, 1 to 65535. A crash, a loss or a timeout uses one; known stops use none.
        timeout
            Seconds that a try may take before its worker's supervisor ends it; None for no limit.

        Returns
        -------
        list of str
            The keys, in the order of `xss`.
        """
        if isinstance(max_tries, bool) or not isinstance(max_tries, int):
            raise TypeError(f"max_tries must be an int, got {max_tries!r}")
        if not 1 <= max_tries <= 65535:
            raise ValueError(f"max_tries must be 1 to 65535, got {max_tries!r}")
        limit = arguments.task_timeout(timeout)
        keys, bodies = self._new_tasks(xss, xss_extra)
        self._tasks.push(keys, bodies, max_tries, limit)
        return keys

    def push_running_tasks(
        self,
        xss: Sequence[Mapping[str, Any]],
        xss_extra: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        timeout: float | None = None,
    ) -> list[str]:
        """Create tasks that this worker or manager runs from the start.

        They never stand in the queue: if their worker is lost, they fail at once.

        Returns
        -------
        list of str
            The keys, in the order of `xss`.
        """
        limit = None if timeout is None else arguments.task_timeout(timeout)
        keys, bodies = self._new_tasks(xss, xss_extra)
        self._tasks.push_running(keys, bodies, limit)
        for key in keys:
            self._began(key, limit)
        return keys

    def push_finished_tasks(
        self,
        xss: Sequence[Mapping[str, Any]],
        yss: Sequence[Mapping[str, Any]],
        xss_extra: Sequence[Mapping[str, Any] | None] | None = None,
        yss_extra: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> list[str]:
        """Create tasks that are already finished; `finish_tasks` is for those that run.

        Returns
        -------
        list of str
            The keys, in the order of `xss`.
        """
        tails = self._packed_results(arguments.listed(xss, "xss", "dicts"), "xss", yss, yss_extra)
        keys, bodies = self._new_tasks(xss, xss_extra)
        self._tasks.push_finished(keys, bodies, tails, self._own_worker_id)
        return keys

    def push_failed_tasks(
        self,
        xss: Sequence[Mapping[str, Any]],
        conditions: Sequence[Any] | None = None,
        xss_extra: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> list[str]:
        """Create tasks that have already failed.

        Parameters
        ----------
        conditions
            Why: exceptions, dicts with a ``message``, or strings; one for all, or one each.

        Returns
        -------
        list of str
            The keys, in the order of `xss`.
        """
        packed = self._packed_conditions(arguments.listed(xss, "xss", "dicts"), "xss", conditions)
        keys, bodies = self._new_tasks(xss, xss_extra)
        self._tasks.push_failed(keys, bodies, packed, self._own_worker_id)
        return keys

    def pop_task(self, timeout: float | None = 1.0, fields: Iterable[str] = ("xs",)) -> Task | None:
        """Take the oldest task from the queue and run it; None if there is none.

        The task is in exactly one state at every moment: one who dies after this call leaves a running task under its
        name, never a lost one.

        Parameters
        ----------
        timeout
            Seconds to wait for a task; 0 does not wait, None waits for ever. A worker that is told to stop while it
            waits gets None at once.
        fields
            Any of "xs" and "xs_extra".
        """
        limit = arguments.seconds(timeout)
        wanted = ("xs",) if fields == ("xs",) else arguments.choices(fields, "fields", "field", POP_FIELDS)
        deadline = None
        while True:
            popped = self._tasks.pop()
            if popped is None and limit != 0:
                deadline = deadline or deadline_after(limit)
                popped = self._wait_and_pop(deadline)
            task = None if popped is None else self._task_of(popped, wanted)
            if popped is None or task is not None:
                return task

    def finish_tasks(
        self,
        keys: Sequence[str],
        yss: Sequence[Mapping[str, Any]],
        yss_extra: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> list[str]:
        """Store the results of running tasks and mark them as finished.

        The first writer wins: a task that this worker no longer runs stays as it is, with a warning. A manager may
        finish any running task.

        Returns
        -------
        list of str
            The keys that moved.
        """
        names = arguments.task_keys(keys)
        tails = self._packed_results(names, "keys", yss, yss_extra)
        return self._settle("finish_tasks", names, self._tasks.finish(names, tails))

    def fail_tasks(self, keys: Sequence[str], conditions: Sequence[Any] | None = None) -> list[str]:
        """Mark running tasks as failed, and store why.

        Parameters
        ----------
        conditions
            Exceptions (stored with type, message and traceback), dicts with a ``message``, or strings; one for all, or
            one each. By default "Task failed".

        Returns
        -------
        list of str
            The keys that moved.
        """
        names = arguments.task_keys(keys)
        packed = self._packed_conditions(names, "keys", conditions)
        return self._settle("fail_tasks", names, self._tasks.fail(names, packed))

    def push_results(self, keys: Sequence[str], yss: Sequence[Mapping[str, Any]], extra: Any = None) -> list[str]:
        """Do what `finish_tasks` does; deprecated."""
        warnings.warn("push_results is deprecated, use finish_tasks", DeprecationWarning, stacklevel=2)
        return self.finish_tasks(keys, yss, extra)

    def push_failed(self, keys: Sequence[str], conditions: Sequence[Any] | None = None) -> list[str]:
        """Do what `fail_tasks` does; deprecated."""
        warnings.warn("push_failed is deprecated, use fail_tasks", DeprecationWarning, stacklevel=2)
        return self.fail_tasks(keys, conditions)

    def empty_queue(self, keys: Sequence[str] | None = None, conditions: Sequence[Any] | None = None) -> list[str]:
        """Mark queued tasks as failed: all of them, or these.

        Returns
        -------
        list of str
            The keys that moved.
        """
        removed = conditions if conditions is not None else ["Removed from queue"]
        if keys is None:
            condition = self._packed_conditions([""], "the queue", removed)[0]
            return self._tasks.empty_queue(None, condition)
        names = arguments.task_keys(keys)
        packed = self._packed_conditions(names, "keys", removed)
        moved = self._tasks.empty_queue(list(zip(names, packed, strict=True)), NIL)
        _warn_of_rest("empty_queue", names, moved, "queued")
        return moved

    def cancel_tasks(self, keys: Sequence[str]) -> list[str]:
        """Fail tasks as cancelled, whatever tries they have left.

        Queued tasks never run. The supervisor of a worker that runs one ends its loop and starts a fresh one; a worker
        without a supervisor goes on, but its result is dropped.

        Returns
        -------
        list of str
            The keys that were cancelled: those that were queued or running.
        """
        names = arguments.task_keys(keys)
        if not names:
            return []
        cancelled = self._tasks.cancel(names, self._codec.encode_condition("cancelled"))
        owners = {worker for _, worker in cancelled if worker and not worker.startswith("~")}
        if owners:
            supervisors = {i.supervisor for i in self._store.workers() if i.worker_id in owners and i.supervisor}
            self._store.poke(*supervisors)
        moved = [key for key, _ in cancelled]
        _warn_of_rest("cancel_tasks", names, moved, "queued or running")
        return moved

    def _new_tasks(self, xss: Any, xss_extra: Any) -> tuple[list[str], list[bytes]]:
        """Make the keys and the packed bodies of new tasks."""
        encode = self._codec.encode_fields
        keys: list[str] = []
        bodies: list[bytes] = []
        inputs = arguments.dicts(xss, "xss")
        if xss_extra is None:
            for xs in inputs:
                keys.append(key := new_task_key())
                bodies.append(body(key, encode(xs, "xs")))
        elif inputs:
            more = arguments.companions(arguments.extras(xss_extra, "xss_extra"), len(inputs), "xss_extra", "xss")
            for xs, extra in zip(inputs, more, strict=True):
                keys.append(key := new_task_key())
                bodies.append(body(key, encode(xs, "xs"), NIL if extra is None else encode(extra, "xs_extra")))
        return keys, bodies

    def _packed_results(self, names: list[Any], to: str, yss: Any, yss_extra: Any) -> list[bytes]:
        if not names:
            return []
        encode = self._codec.encode_fields
        results = arguments.dicts(yss, "yss")
        if yss_extra is None and len(results) == 1 == len(names):
            return [encode(results[0], "ys") + NIL]
        results = arguments.companions(results, len(names), "yss", to)
        if yss_extra is None:
            return [encode(ys, "ys") + NIL for ys in results]
        more = arguments.companions(arguments.extras(yss_extra, "yss_extra"), len(names), "yss_extra", to)
        return [
            encode(ys, "ys") + (NIL if extra is None else encode(extra, "ys_extra"))
            for ys, extra in zip(results, more, strict=True)
        ]

    def _packed_conditions(self, names: list[Any], to: str, conditions: Any) -> list[bytes]:
        if not names:
            return []
        given = [None] if conditions is None else arguments.listed(conditions, "conditions", "exceptions or dicts")
        packed = [self._codec.encode_condition(condition) for condition in given]
        return arguments.companions(packed, len(names), "conditions", to)

    def _wait_and_pop(self, deadline: float | None) -> Popped | None:
        while not self._told_to_stop:
            left = remaining(deadline, _LONGEST_BLOCK)
            if left <= 0:
                return None
            woken = wait_for_bell(self._store, self._own_worker_id, left)
            popped = self._tasks.pop(woken=woken == b"bell")
            if popped is not None:
                return popped
        return None

    def _task_of(self, popped: Popped, wanted: Sequence[str]) -> Task | None:
        """Begin a task that was taken; None if it cannot be read."""
        fields = self._fields_of(popped)
        if fields is None:
            return None
        xs, xs_extra = fields
        self._began(popped.key, popped.timeout)
        inputs, extras = xs if "xs" in wanted else None, xs_extra if "xs_extra" in wanted else None
        return Task(popped.key, inputs, extras, popped.tries, popped.timeout)

    def _fields_of(self, popped: Popped) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """Read inputs and extras of a task that was taken; None, and the task fails, if they cannot be read.

        What this process has no reason to trust, another one may be able to read: then the caller hears of it.
        """
        try:
            _, key, xs, xs_extra = self._codec.decode(popped.row)
            if key != popped.key or type(xs) is not dict:
                raise CodecError("what is stored is not a task")
        except Untrusted:
            raise
        except CodecError as error:
            log.warning("task %s cannot be read and fails: %s", popped.key, error)
            condition = self._codec.encode_condition(error)
            self._tasks.fail([popped.key], [condition])
            return None
        return xs, xs_extra

    def _settle(self, call: str, names: list[str], flags: bytes) -> list[str]:
        self._over(names)
        if 0 not in flags:
            return names
        moved = [key for key, flag in zip(names, flags, strict=True) if flag]
        _warn_of_rest(call, names, moved, "running here")
        return moved

    @property
    def _own_worker_id(self) -> str | None:
        """The worker's id; None for a manager."""
        return None

    @property
    def _told_to_stop(self) -> bool:
        """Whether a wait for tasks is to end; a manager is never told to."""
        return False

    def _began(self, key: str, timeout: float | None) -> None:
        """Hear that a task begins here; a worker tells its supervisor."""

    def _over(self, keys: Sequence[str]) -> None:
        """Hear that tasks have ended here; a worker tells its supervisor."""

    def _states(self, keys: Sequence[str]) -> list[TaskState | None]:
        found = self._tasks.where(list(dict.fromkeys(keys)))
        return [found[key][0] for key in keys]


def _warn_of_rest(call: str, names: Sequence[str], moved: Sequence[str], state: str) -> None:
    rest = [key for key in names if key not in set(moved)]
    if rest:
        log.warning(
            "%s: %d of %d task(s) were not %s and stay as they are: %s%s",
            *(call, len(rest), len(names), state, ", ".join(rest[:3]), ", ..." if len(rest) > 3 else ""),
        )
