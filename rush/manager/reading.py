"""Reading tasks: data frames, states, waiting."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from rush import frames
from rush.manager import arguments
from rush.manager.finished import FinishedTasks
from rush.manager.writing import TaskWriter
from rush.model import TaskState
from rush.store.events import Listener, deadline_after, remaining
from rush.store.tasks import MOST_TASKS_A_STEP

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("rush")

STATES = tuple(TaskState)
ALL_FIELDS = ("xs", "ys", "xs_extra", "worker_id", "ys_extra", "condition")
FINISHED_FIELDS = ("worker_id", "xs", "ys", "xs_extra", "ys_extra", "condition")


class TaskReader(TaskWriter):
    """The steps that only read tasks."""

    def _connect(self) -> None:
        super()._connect()
        self._finished = FinishedTasks(self._tasks.log_records, self._codec)

    @property
    def tasks(self) -> list[str]:
        """Keys of all tasks, in the order of creation."""
        return [key for _, key in sorted(self._ordered_keys(STATES))]

    @property
    def queued_tasks(self) -> list[str]:
        """Keys of the queued tasks, in the order in which they will be popped."""
        return self.tasks_with_state("queued")["queued"]

    @property
    def running_tasks(self) -> list[str]:
        """Keys of the running tasks."""
        return self.tasks_with_state("running")["running"]

    @property
    def finished_tasks(self) -> list[str]:
        """Keys of the finished tasks, in the order of finishing."""
        return self.tasks_with_state("finished")["finished"]

    @property
    def failed_tasks(self) -> list[str]:
        """Keys of the failed tasks."""
        return self.tasks_with_state("failed")["failed"]

    def tasks_with_state(self, states: str | Sequence[str] = STATES) -> dict[str, list[str]]:
        """Give the keys of tasks by state, read in one step: no task stands under two states."""
        wanted = arguments.choices(states, "states", "state", STATES)
        queued, running, failed, length = self._tasks.snapshot_keys(frozenset(map(TaskState, wanted)))
        finished: list[str] = []
        if "finished" in wanted:
            n = self._finished.follow(length)
            finished = self._finished.cache.keys()[:n]
        found = {"queued": queued, "running": running, "finished": finished, "failed": failed}
        return {state: found[state] for state in STATES if state in wanted}

    def fetch_tasks(self, fields: Iterable[str] = ALL_FIELDS) -> "pd.DataFrame":
        """Give all tasks, whatever their state, in the order of creation.

        Parameters
        ----------
        fields
            Any of "xs", "ys", "xs_extra", "worker_id", "ys_extra" and "condition".

        Returns
        -------
        pandas.DataFrame
            One row for each task, indexed by its key.
        """
        blocks, order = self._blocks(_fields(fields), STATES, with_state=False)
        table = frames.concat(blocks)
        return table if table.empty else table.iloc[_argsort(order)]

    def fetch_queued_tasks(self, fields: Iterable[str] = ("xs", "xs_extra")) -> "pd.DataFrame":
        """Give the queued tasks, in the order in which they will be popped."""
        return self._fetch_state(fields, TaskState.QUEUED)

    def fetch_running_tasks(self, fields: Iterable[str] = ("xs", "xs_extra", "worker_id")) -> "pd.DataFrame":
        """Give the running tasks, in the order of creation."""
        return self._fetch_state(fields, TaskState.RUNNING)

    def fetch_failed_tasks(
        self, fields: Iterable[str] = ("xs", "xs_extra", "worker_id", "condition")
    ) -> "pd.DataFrame":
        """Give the failed tasks, in the order of creation."""
        return self._fetch_state(fields, TaskState.FAILED)

    def fetch_finished_tasks(self, fields: Iterable[str] = FINISHED_FIELDS) -> "pd.DataFrame":
        """Give the finished tasks, in the order of finishing.

        They never change, so each is read once and cached: a call costs what is new, not what is there. The frame is
        the caller's own; what is done to it never reaches the cache.
        """
        wanted = _fields(fields)
        n = self._finished.follow()
        return self._finished.cache.frame(wanted, 0, n)

    def fetch_new_tasks(self, fields: Iterable[str] = ALL_FIELDS, timeout: float | None = 0.0) -> "pd.DataFrame":
        """Give the tasks that finished since the last call of this method.

        Parameters
        ----------
        timeout
            Seconds to wait for at least one; 0 does not wait, None waits for ever. Waiting blocks in the server and
            ends at once when a task finishes.
        """
        wanted = _fields(fields)
        limit = arguments.seconds(timeout)
        finished = self._finished
        n = finished.follow()
        if n <= finished.seen and limit != 0:
            for _ in Listener(self._store).until(lambda: finished.follow() > finished.seen, limit):
                pass
            n = finished.rows(None)
        start, finished.seen = min(finished.seen, n), n
        return finished.cache.frame(wanted, start, n)

    def fetch_tasks_with_state(
        self, fields: Iterable[str] = FINISHED_FIELDS, states: str | Sequence[str] = STATES
    ) -> "pd.DataFrame":
        """Give tasks with their states in a first column `state`, read in one step: no task twice, none missing.

        The blocks stand in the order queued, running, finished, failed.
        """
        wanted = arguments.choices(states, "states", "state", STATES)
        return frames.concat(self._blocks(_fields(fields), wanted, with_state=True)[0])

    def reset_cache(self) -> Self:
        """Forget the finished tasks that were read; `fetch_new_tasks` gives all of them again."""
        self._finished.reset()
        return self

    def wait_for_tasks(
        self, keys: Sequence[str], *, detect_lost_workers: bool = False, timeout: float | None = None
    ) -> bool:
        """Wait until tasks are finished or failed.

        Parameters
        ----------
        keys
            The tasks, at least one.
        detect_lost_workers
            Look at the processes of workers on this machine every half second instead of every five. Heartbeats are
            looked at when they run out.
        timeout
            Seconds to wait; None for ever.

        Returns
        -------
        bool
            True when all are finished or failed; False, with a warning, when no worker is running or pending any more.

        Raises
        ------
        KeyError
            There is no such task.
        TimeoutError
            With the number of tasks that are still open.
        """
        open_keys = arguments.task_keys(keys)
        if not open_keys:
            raise ValueError("keys must not be empty")
        limit = arguments.seconds(timeout)
        deadline = deadline_after(limit)
        listener = Listener(self._store)
        listener.announce()
        pause = 0.0
        began = time.monotonic()
        open_keys = self._unsettled(open_keys)
        while True:
            idle = self._nobody_works()  # asked first: a worker may end its last task, and then itself
            if self._all_settled(open_keys):
                return True
            if idle:
                self._warn_of_open(open_keys)
                return False
            if remaining(deadline, 1.0) <= 0:
                raise TimeoutError(f"{len(open_keys)} of {len(keys)} task(s) are still open after {limit:g} s")
            listener.wait(remaining(deadline, pause))
            pause = self._look_after_workers(hurry=detect_lost_workers)
            time.sleep(min(0.02, (time.monotonic() - began) / 50))  # many events at once are looked at together

    def is_running_task(self, keys: Sequence[str]) -> list[bool]:
        """Say of each key whether the task is running; an unknown key is not."""
        return [state is TaskState.RUNNING for state in self._states(arguments.task_keys(keys))]

    def is_failed_task(self, keys: Sequence[str]) -> list[bool]:
        """Say of each key whether the task has failed; an unknown key has not."""
        return [state is TaskState.FAILED for state in self._states(arguments.task_keys(keys))]

    def _fetch_state(self, fields: Iterable[str], state: TaskState) -> "pd.DataFrame":
        return self._blocks(_fields(fields), [state], with_state=False)[0][0]

    def _blocks(
        self, fields: list[str], states: Sequence[str], *, with_state: bool
    ) -> "tuple[list[pd.DataFrame], list[int]]":
        """Give a frame for each state and, for frames without one, the order of creation of their rows."""
        snapshot = self._tasks.snapshot(frozenset(map(TaskState, states)))
        unfinished = {
            TaskState.QUEUED: snapshot.queued,
            TaskState.RUNNING: snapshot.running,
            TaskState.FAILED: snapshot.failed,
        }
        blocks, order = [], []
        for state in STATES:
            if state not in states:
                continue
            if state is TaskState.FINISHED:
                n = self._finished.follow(snapshot.log_length)
                blocks.append(self._finished.cache.frame(fields, 0, n, state=state.value if with_state else None))
                if not with_state:
                    order += self._finished.cache.created()[:n].tolist()
                continue
            rows = self._rows(unfinished[state], state)
            blocks.append(frames.frame_of(rows, fields, state.value if with_state else None))
            order += [row[0] for row in rows]
        return blocks, order

    def _rows(self, records: list[bytes], state: TaskState) -> list[list[Any]]:
        rows, dropped = self._codec.decode_rows(records)
        valid = [row for row in rows if len(row) >= 4 and isinstance(row[2], dict)]
        lost = dropped + len(rows) - len(valid)
        if lost:
            log.warning("%d %s task(s) could not be read and are left out", lost, state.value)
        return valid if state is TaskState.QUEUED else sorted(valid, key=lambda row: row[0])

    def _ordered_keys(self, states: Sequence[str]) -> list[tuple[int, str]]:
        snapshot = self._tasks.snapshot(frozenset(map(TaskState, states)))
        rows = self._rows(snapshot.queued + snapshot.running + snapshot.failed, TaskState.QUEUED)
        n = self._finished.follow(snapshot.log_length)
        created = self._finished.cache.created()[:n].tolist()
        return [(row[0], row[1]) for row in rows] + list(zip(created, self._finished.cache.keys()[:n], strict=True))

    def _unsettled(self, keys: Sequence[str]) -> list[str]:
        states = self._states(keys)
        if None in states:
            raise KeyError(f"no task {keys[states.index(None)]!r} in network {self.network_id!r}")
        settled = {TaskState.FINISHED, TaskState.FAILED}
        return [key for key, state in zip(keys, states, strict=True) if state not in settled]

    def _all_settled(self, keys: list[str]) -> bool:
        """Drop settled tasks from the end of `keys`, up to the first open one: each is asked for a few times only."""
        batch = 1
        while keys:
            left = self._unsettled(keys[-batch:])
            keys[-batch:] = left
            if left:
                return False
            batch = min(2 * batch, MOST_TASKS_A_STEP)
        return True

    def _nobody_works(self) -> bool:
        """Say whether there is nobody left to end any task."""
        return not self._counts.running_workers and not self._has_pending_workers()

    def _warn_of_open(self, keys: Sequence[str]) -> None:
        ended = max(self._store.ended_workers().items(), key=lambda item: item[1].time, default=None)
        why = "no worker has registered" if ended is None else f"the last one, {ended[0]}, ended: {ended[1].reason}"
        log.warning("wait_for_tasks: %d task(s) are open but no worker is running; %s", len(keys), why)

    def _has_pending_workers(self) -> bool:
        """Whether a worker that was placed may still register."""
        return False

    def _look_after_workers(self, *, hurry: bool) -> float:
        """Let a waiting call notice workers that were lost; give the seconds until it is to look again."""
        return 0.5 if hurry else 5.0


def _fields(fields: Iterable[str]) -> list[str]:
    return arguments.choices(fields, "fields", "field", ALL_FIELDS)


def _argsort(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)
