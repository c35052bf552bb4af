"""The steps of tasks: creating, taking, finishing, failing, finding. Values come and go as packed bytes."""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from rush.model import TaskState
from rush.store.connection import Reply
from rush.store.scripts import script
from rush.store.session import Flight, Session

MOST_TASKS_A_STEP = 5_000
MOST_BYTES_A_STEP = 4 * 1024 * 1024
RECORDS_A_READ = 10_000
NIL = b"\xc0"
T = TypeVar("T")

_HEAD = struct.Struct(">BHd")
_STATES = {b"q": TaskState.QUEUED, b"r": TaskState.RUNNING, b"f": TaskState.FINISHED, b"x": TaskState.FAILED}
_pack = msgspec.msgpack.Encoder().encode


class NewTask(NamedTuple):
    """A task to be created: its key, and its packed inputs and extras."""

    key: str
    xs: bytes
    xs_extra: bytes = NIL

    @property
    def body(self) -> bytes:
        """Packed key, inputs and extras, as they stand in every record of the task."""
        return b"\xb0" + self.key.encode() + self.xs + self.xs_extra


class Popped(NamedTuple):
    """A task that was taken: `row` is its packed row (seq, key, xs, xs_extra)."""

    key: str
    row: bytes
    tries: int
    attempt: int
    timeout: float | None


class Outcome(NamedTuple):
    """What becomes of a running task: `tail` is packed ys and ys_extra, or the packed condition."""

    key: str
    attempt: int | str
    tail: bytes


class Snapshot(NamedTuple):
    """Packed rows of the unfinished and failed tasks, and how long the log was at that moment."""

    queued: list[bytes]
    running: list[bytes]
    failed: list[bytes]
    log_length: int


class Tasks:
    """A session's access to the tasks of its network."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.store = session.store
        self._any = "1" if session.is_manager else "0"

    def push(self, tasks: Sequence[NewTask], max_tries: int, timeout: float | None) -> None:
        """Queue tasks."""
        self._create("push", tasks, (_HEAD.pack(0, max_tries, timeout or 0.0),), [task.body for task in tasks])

    def push_running(self, tasks: Sequence[NewTask], timeout: float | None) -> None:
        """Create tasks that this session runs."""
        self.session.held.update(task.key for task in tasks)
        self._create("push_running", tasks, (_HEAD.pack(1, 1, timeout or 0.0),), [task.body for task in tasks])

    def push_finished(self, tasks: Sequence[NewTask], tails: Sequence[bytes], worker_id: str | None) -> None:
        """Create finished tasks; each tail is packed ys and ys_extra."""
        middle = b"\x01" + _pack(worker_id)
        self._create("push_finished", tasks, (), [t.body + middle + tail for t, tail in zip(tasks, tails, strict=True)])

    def push_failed(self, tasks: Sequence[NewTask], conditions: Sequence[bytes], worker_id: str | None) -> None:
        """Create failed tasks."""
        middle = b"\x01" + _pack(worker_id) + NIL + NIL
        self._create("push_failed", tasks, (), [t.body + middle + c for t, c in zip(tasks, conditions, strict=True)])

    def pop(self, *, woken: bool = False) -> Popped | None:
        """Take the oldest queued task, without waiting."""
        orphan = self._take_orphan()
        if orphan is not None:
            return orphan
        woken_flag = "1" if woken else "0"

        def recover() -> Popped | None:
            return self._take_orphan() or self._popped(self.session.attempt("pop", (woken_flag,)))

        return self.session.perform("pop", (woken_flag,), recover, self._popped)

    def finish(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Append running tasks to the log; say of each whether it moved."""
        return self._move("finish", outcomes)

    def fail(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Fail running tasks; say of each whether it moved."""
        return self._move("fail", outcomes)

    def finish_pop(self, outcome: Outcome | None) -> tuple[bool, Popped | None]:
        """Finish one task and take the next, in one step."""
        return self.session.perform(
            "finish_pop", self._fused(outcome, "", ""), lambda: self._recover_fused(outcome), self._read_fused(outcome)
        )

    def post_finish_pop(self, outcome: Outcome | None, begun: str) -> Flight:
        """Send a `finish_pop` whose task waits behind another; `begun` is the prefetched task that begins now."""
        return self.session.post("finish_pop", self._fused(outcome, " p", begun))

    def collect_finish_pop(self, flight: Flight, outcome: Outcome | None) -> tuple[bool, Popped | None]:
        """Read the reply of `post_finish_pop`."""
        return self.session.collect(flight, lambda: self._recover_fused(outcome), self._read_fused(outcome))

    def cancel(self, keys: Sequence[str], condition: bytes) -> list[tuple[str, str]]:
        """Fail queued and running tasks; give those that were, with the worker that still works on them or ''."""
        cancelled: dict[str, str] = {}
        for part in _parts([(key,) for key in keys], [len(key) for key in keys]):
            wanted = [key for (key,) in part]

            def read(reply: Reply) -> list[tuple[str, str]]:
                words = [word.decode() for word in reply]
                return list(zip(words[::2], words[1::2], strict=True))

            def recover(wanted: list[str] = wanted) -> list[tuple[str, str]]:
                stored = self.where(wanted, stored=True)
                done = [
                    key for key in wanted if stored[key][0] == TaskState.FAILED and _ends(stored[key][1], condition)
                ]
                rest = [key for key in wanted if stored[key][0] in {TaskState.QUEUED, TaskState.RUNNING}]
                found = read(self.session.attempt("cancel", (condition, *rest))) if rest else []
                return found + [(key, _worker_of(stored[key][1])) for key in done]

            cancelled.update(self.session.perform("cancel", (condition, *wanted), recover, read))
            self.session.held.difference_update(cancelled)
        return list(cancelled.items())

    def empty_queue(self, named: Sequence[tuple[str, bytes]] | None, condition: bytes) -> list[str]:
        """Fail queued tasks: the named ones with their conditions, or all."""
        if named is None:
            named = [(key, condition) for key in self.snapshot_keys(frozenset({TaskState.QUEUED}))[0]]
        moved: list[str] = []
        for part in _parts(named, [len(c) for _, c in named]):
            moved += self._empty(dict(part))
        return moved

    def where(self, keys: Sequence[str], *, stored: bool = False) -> dict[str, tuple[TaskState | None, Reply]]:
        """Say which state each task is in (None: no such task), and give what is stored."""
        found: dict[str, tuple[TaskState | None, Reply]] = {}
        k = self.store.keys
        for first in range(0, len(keys), MOST_TASKS_A_STEP):
            part = keys[first : first + MOST_TASKS_A_STEP]
            reply = self.store.readers.run(
                script("where"), 5, k.tasks, k.running, k.index, k.log, k.failed, "1" if stored else "0", *part
            )
            for key, (state, value) in zip(part, reply, strict=True):
                found[key] = (_STATES.get(state), value)
        return found

    def snapshot(self, states: frozenset[TaskState]) -> Snapshot:
        """Read the rows of unfinished and failed tasks, and the length of the log, in one step."""
        queued, running, failed, length = self._snapshot(states, keys_only=False)
        rows = [running_row(value, owner, tries) for value, owner, tries in running]
        return Snapshot([queued_row(value) for value in queued], rows, failed, length)

    def snapshot_keys(self, states: frozenset[TaskState]) -> tuple[list[str], list[str], list[str], int]:
        """Read the keys of queued, running and failed tasks, and the length of the log, in one step."""
        queued, running, failed, length = self._snapshot(states, keys_only=True)
        names = [[key.decode() for key in keys] for keys in (queued, running, failed)]
        return names[0], names[1], names[2], length

    def log_records(self, first: int, last: int) -> list[bytes]:
        """Read finished records by position, both ends included."""
        records: list[bytes] = self.store.readers.ask("LRANGE", self.store.keys.log, first, last)
        return records

    def _snapshot(self, states: frozenset[TaskState], *, keys_only: bool) -> Reply:
        k = self.store.keys
        wanted = "".join(letter.decode() for letter, state in _STATES.items() if state in states)
        return self.store.readers.run(
            script("snapshot"), 6, k.queue, k.tasks, k.running, k.tries, k.failed, k.log, wanted, str(int(keys_only))
        )

    def _create(self, name: str, tasks: Sequence[NewTask], head: tuple[bytes, ...], bodies: list[bytes]) -> None:
        for part in _parts(list(zip([t.key for t in tasks], bodies, strict=True)), [len(body) for body in bodies]):
            words = tuple(word for pair in part for word in pair)

            def recover(part: Sequence[tuple[str, bytes]] = part) -> None:
                there = self.where([key for key, _ in part])
                missing = tuple(word for pair in part if there[pair[0]][0] is None for word in pair)
                if missing:
                    self.session.attempt(name, (*head, *missing))

            self.session.perform(name, (*head, *words), recover, _nothing)

    def _move(self, name: str, outcomes: Sequence[Outcome]) -> list[bool]:
        moved: list[bool] = []
        for part in _parts(outcomes, [len(outcome.tail) for outcome in outcomes]):
            args = tuple(word for outcome in part for word in outcome)

            def recover(part: Sequence[Outcome] = part) -> list[bool]:
                done = self._handed_in(part)
                rest = [outcome for outcome in part if not done[outcome.key]]
                if rest:
                    words = tuple(word for outcome in rest for word in outcome)
                    reply = self.session.attempt(name, (self._any, *words))
                    done.update((outcome.key, bool(flag)) for outcome, flag in zip(rest, reply, strict=True))
                return [done[outcome.key] for outcome in part]

            moved += self.session.perform(name, (self._any, *args), recover, _booleans)
            self.session.held.difference_update(outcome.key for outcome in part)
        return moved

    def _handed_in(self, outcomes: Sequence[Outcome]) -> dict[str, bool]:
        """Say which of these results stand in the store already: an earlier try of the same call put them there."""
        stored = self.where([outcome.key for outcome in outcomes], stored=True)
        return {o.key: isinstance(stored[o.key][1], bytes) and _ends(stored[o.key][1], o.tail) for o in outcomes}

    def _empty(self, named: dict[str, bytes]) -> list[str]:
        words = tuple(word for pair in named.items() for word in pair)

        def read(reply: Reply) -> list[str]:
            return [key.decode() for key in reply]

        def recover() -> list[str]:
            stored = self.where(list(named), stored=True)
            done = [k for k in named if stored[k][0] == TaskState.FAILED and _ends(stored[k][1], named[k])]
            return done + read(self.session.attempt("empty_queue", words))

        return self.session.perform("empty_queue", words, recover, read)

    def _fused(self, outcome: Outcome | None, mark: str, begun: str) -> tuple[str | int | bytes, ...]:
        return (*(outcome or ("", "", b"")), mark, begun)

    def _read_fused(self, outcome: Outcome | None) -> "Callable[[Reply], tuple[bool, Popped | None]]":
        def read(reply: Reply) -> tuple[bool, Popped | None]:
            if outcome is not None:
                self.session.held.discard(outcome.key)
            return bool(reply[0]), self._popped(reply[1])

        return read

    def _recover_fused(self, outcome: Outcome | None) -> tuple[bool, Popped | None]:
        moved = False
        if outcome is not None:
            moved = self._handed_in([outcome])[outcome.key]
            if not moved:
                moved = bool(self.session.attempt("finish", (self._any, *outcome))[0])
            self.session.held.discard(outcome.key)
        return moved, self._take_orphan() or self._popped(self.session.attempt("pop", ("0",)))

    def _popped(self, reply: Reply) -> Popped | None:
        if not reply:
            return None
        key, value, used, attempt = reply
        name = key.decode()
        self.session.held.add(name)
        timeout = _HEAD.unpack_from(value)[2] if value else 0.0
        return Popped(name, b"\x94" + value[11:], used + 1, attempt, timeout or None)

    def _take_orphan(self) -> Popped | None:
        """Hand out a task that an earlier, broken call has taken for this session."""
        while self.session.orphans:
            key = self.session.orphans.popleft()
            state, stored = self.where([key], stored=True)[key]
            if state is TaskState.RUNNING:
                session, attempt = _owner(stored[1])
                if session == self.session.id:
                    tries = self.store.readers.ask("HGET", self.store.keys.tries, key) or b"0 0"
                    return self._popped((key.encode(), stored[0], int(tries.split()[0]), attempt))
        return None


def running_row(value: bytes, owner: bytes, tries: bytes) -> bytes:
    """Put together the packed row of a running task."""
    session, _ = _owner(owner)
    worker = None if session.startswith("~") else session
    return b"\x96" + value[11:] + _pack(int(tries.split()[0]) + 1) + _pack(worker)


def queued_row(value: bytes) -> bytes:
    """Give the packed row of a queued task."""
    return b"\x94" + value[11:]


def _owner(value: bytes) -> tuple[str, int]:
    session, attempt, *_ = value.decode().split(" ")
    return session, int(attempt)


def _parts(items: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    """Cut a long call into steps that do not block the server for long."""
    if len(items) <= MOST_TASKS_A_STEP and sum(sizes) <= MOST_BYTES_A_STEP:
        if items:
            yield items
        return
    first = total = 0
    for at, size in enumerate(sizes):
        if at > first and (total + size > MOST_BYTES_A_STEP or at - first == MOST_TASKS_A_STEP):
            yield items[first:at]
            first, total = at, 0
        total += size
    yield items[first:]


def _ends(record: Reply, tail: bytes) -> bool:
    return bytes(record).endswith(tail)


def _worker_of(record: bytes) -> str:
    worker = msgspec.msgpack.decode(record)[5]
    return worker if isinstance(worker, str) else ""


def _nothing(_reply: Reply) -> None:
    return None


def _booleans(reply: Reply) -> list[bool]:
    return [flag == 1 for flag in reply]
