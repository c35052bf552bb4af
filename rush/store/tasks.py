"""The steps of tasks: creating, taking, finishing, failing, finding. Values come and go as packed bytes."""

import logging
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from rush.model import TaskKey, TaskState
from rush.store.scripts import Reply, script
from rush.store.session import Flight, Session

MOST_TASKS_A_STEP = 5_000
MOST_BYTES_A_STEP = 4 * 1024 * 1024
RECORDS_A_READ = 10_000
NIL = b"\xc0"

log = logging.getLogger("rush")
_HEAD = struct.Struct(">BHdHH")
_ROW = b"\x94"
_TAKEN = struct.Struct(">BB16sBHdHH")
BORN_RUNNING = _HEAD.pack(1, 1, 0.0, 0, 0) + _ROW
_WOKEN = ("1",)
_NOT_WOKEN: tuple[str, ...] = ()
_STATES = {b"q": TaskState.QUEUED, b"r": TaskState.RUNNING, b"f": TaskState.FINISHED, b"x": TaskState.FAILED}
_pack = msgspec.msgpack.Encoder().encode


class Popped(msgspec.Struct, frozen=True, gc=False):
    """A task that was taken: `row` is its packed row (seq, key, xs, xs_extra)."""

    key: TaskKey
    row: bytes
    tries: int
    timeout: float | None


class Outcome(NamedTuple):
    """The result of a running task: `tail` is packed ys and ys_extra."""

    key: str
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

    def push(self, keys: Sequence[str], bodies: Sequence[bytes], max_tries: int, timeout: float | None) -> None:
        """Queue tasks; each body is packed as `body` does it."""
        self._create("push", keys, bodies, _HEAD.pack(0, max_tries, timeout or 0.0, 0, 0) + _ROW)

    def push_running(self, keys: Sequence[str], bodies: Sequence[bytes], timeout: float | None) -> None:
        """Create tasks that this session runs."""
        session = self.session
        session.held.update(keys)
        head = BORN_RUNNING if timeout is None else _HEAD.pack(1, 1, timeout, 0, 0) + _ROW
        if session.noted_own_tasks:
            self._create("push_running", keys, bodies, b"0", head)
        else:
            self._create("push_running", keys, bodies, b"1", head)
            session.noted_own_tasks = True

    def push_finished(
        self, keys: Sequence[str], bodies: Sequence[bytes], tails: Sequence[bytes], worker_id: str | None
    ) -> None:
        """Create finished tasks; each tail is packed ys and ys_extra."""
        middle = b"\x01" + _pack(worker_id)
        self._create("push_finished", keys, [b + middle + tail for b, tail in zip(bodies, tails, strict=True)])

    def push_failed(
        self, keys: Sequence[str], bodies: Sequence[bytes], conditions: Sequence[bytes], worker_id: str | None
    ) -> None:
        """Create failed tasks."""
        middle = b"\x01" + _pack(worker_id) + NIL + NIL
        self._create("push_failed", keys, [b + middle + c for b, c in zip(bodies, conditions, strict=True)])

    def pop(self, *, woken: bool = False) -> Popped | None:
        """Take the oldest queued task, without waiting."""
        session = self.session
        if session.orphans and (orphan := self._take_orphan()):
            return _popped(orphan)
        return _popped(session.perform("pop", _WOKEN if woken else _NOT_WOKEN, self._pop_again))

    def finish(self, keys: Sequence[str], tails: Sequence[bytes]) -> bytes:
        """Append running tasks to the log, each with its tail; give a byte for each: 1 if it moved, else 0."""
        return self._move("finish", keys, tails)

    def fail(self, keys: Sequence[str], conditions: Sequence[bytes]) -> bytes:
        """Fail running tasks; give a byte for each: 1 if it moved, else 0."""
        return self._move("fail", keys, conditions)

    def finish_pop(self, outcome: Outcome | None) -> tuple[bool, Popped | None]:
        """Finish one task and take the next, in one step."""
        reply = self.session.perform("finish_pop", _fused(outcome, ""), self._finish_and_pop_again, outcome, "")
        return self._read_fused(outcome, reply)

    def post_finish_pop(self, outcome: Outcome | None, behind: str) -> Flight:
        """Send a `finish_pop` whose task is to wait for `behind`, which begins now."""
        return self.session.post("finish_pop", _fused(outcome, behind))

    def collect_finish_pop(self, flight: Flight, outcome: Outcome | None, behind: str) -> tuple[bool, Popped | None]:
        """Read the reply of `post_finish_pop`."""
        return self._read_fused(outcome, self.session.collect(flight, self._finish_and_pop_again, outcome, behind))

    def cancel(self, keys: Sequence[str], condition: bytes) -> list[tuple[str, str]]:
        """Fail queued and running tasks; give those that were, with the worker that still works on them or ''."""
        cancelled: dict[str, str] = {}
        for first in range(0, len(keys), MOST_TASKS_A_STEP):
            wanted = keys[first : first + MOST_TASKS_A_STEP]
            words = self.session.perform("cancel", (condition, *wanted), self._cancel_again, condition, wanted)
            cancelled.update(zip(map(_text, words[::2]), map(_text, words[1::2]), strict=True))
            self.session.held.difference_update(cancelled)
        return list(cancelled.items())

    def empty_queue(self, named: Sequence[tuple[str, bytes]] | None, condition: bytes) -> list[str]:
        """Fail queued tasks: the named ones with their conditions, or all."""
        if named is None:
            named = [(key, condition) for key in self.snapshot_keys(frozenset({TaskState.QUEUED}))[0]]
        moved: list[str] = []
        for part in _parts([key for key, _ in named], [condition for _, condition in named]):
            moved += self._empty(dict(zip(*part, strict=True)))
        return moved

    def where(self, keys: Sequence[str], *, stored: bool = False) -> dict[str, tuple[TaskState | None, Reply]]:
        """Say which state each task is in (None: no such task), and give what is stored."""
        found: dict[str, tuple[TaskState | None, Reply]] = {}
        k = self.store.keys
        places = (5, k.queued, k.running, k.failed, k.log, k.index)
        for first in range(0, len(keys), MOST_TASKS_A_STEP):
            asked = keys[first : first + MOST_TASKS_A_STEP]
            while asked:
                left, there = self.store.readers.run(script("where"), *places, "1" if stored else "0", *asked)
                found.update((key, (_STATES.get(s), value)) for key, (s, value) in zip(asked, there, strict=True))
                asked = [key for key in asked if found[key][0] is None] if left > 0 else []
        return found

    def snapshot(self, states: frozenset[TaskState]) -> Snapshot:
        """Read the rows of unfinished and failed tasks, and the length of the log, in one step."""
        queued, running, failed, length = self._snapshot(states, keys_only=False)
        return Snapshot(list(map(queued_row, queued)), list(map(running_row, running)), failed, length)

    def snapshot_keys(self, states: frozenset[TaskState]) -> tuple[list[str], list[str], list[str], int]:
        """Read the keys of queued, running and failed tasks, and the length of the log, in one step."""
        queued, running, failed, length = self._snapshot(states, keys_only=True)
        names = [list(map(_text, keys)) for keys in (queued, running, failed)]
        return names[0], names[1], names[2], length

    def log_records(self, first: int, last: int) -> list[bytes]:
        """Read finished records by position, both ends included."""
        return self.store.read_list(self.store.keys.log, first, last)

    def _snapshot(self, states: frozenset[TaskState], *, keys_only: bool) -> Reply:
        k = self.store.keys
        wanted = "".join(letter.decode() for letter, state in _STATES.items() if state in states)
        reply = self.store.readers.run(
            script("snapshot"), 5, k.queue, k.queued, k.running, k.failed, k.log, wanted, str(int(keys_only))
        )
        if reply[3] < 0:
            reply[3] = self.store.length_of_no_log()
        return reply

    def _create(self, name: str, keys: Sequence[str], bodies: Sequence[bytes], *head: bytes) -> None:
        if len(keys) == 1:
            self.session.perform(name, (*head, keys[0], bodies[0]), self._create_again, name, head, keys, bodies)
            return
        for some, values in _parts(keys, bodies):
            words = chain.from_iterable(zip(some, values, strict=True))
            self.session.perform(name, (*head, *words), self._create_again, name, head, some, values)

    def _create_again(self, name: str, head: tuple[bytes, ...], keys: Sequence[str], bodies: Sequence[bytes]) -> None:
        there = self.where(keys)
        missing = [pair for pair in zip(keys, bodies, strict=True) if there[pair[0]][0] is None]
        if missing:
            self.session.perform(name, (*head, *chain.from_iterable(missing)))

    def _move(self, name: str, keys: Sequence[str], tails: Sequence[bytes]) -> bytes:
        session = self.session
        if len(keys) == 1:
            words = _result(keys[0], tails[0])
            moved: bytes = session.perform(name, words, self._move_again, name, keys, tails)
        else:
            moved = b""
            for some, values in _parts(keys, tails):
                moved += session.perform(name, self._words(some, values), self._move_again, name, some, values)
        session.held.difference_update(keys)
        return moved

    def _move_again(self, name: str, keys: Sequence[str], tails: Sequence[bytes]) -> bytes:
        done = self._handed_in(keys, tails)
        rest = [(key, tail) for key, tail in zip(keys, tails, strict=True) if not done[key]]
        if rest:
            flags = self.session.perform(name, self._words(*zip(*rest, strict=True)))
            done.update((key, flag) for (key, _), flag in zip(rest, flags, strict=True))
        return bytes(done[key] for key in keys)

    def _words(self, keys: Sequence[str], tails: Sequence[bytes]) -> tuple[Any, ...]:
        """Give the arguments by which results are handed in."""
        return tuple(chain.from_iterable(map(_result, keys, tails)))

    def _handed_in(self, keys: Sequence[str], tails: Sequence[bytes]) -> dict[str, int]:
        """Say which of these results stand in the store already: an earlier try of the same call put them there."""
        stored = self.where(keys, stored=True)
        return {key: int(self._wrote(stored[key][1], tail)) for key, tail in zip(keys, tails, strict=True)}

    def _wrote(self, record: Reply, tail: bytes) -> bool:
        """Say whether a record ends with this result, and is not another worker's that found the same."""
        return _ends(record, tail) and (self.session.is_manager or _worker_of(record).decode() == self.session.id)

    def _cancel_again(self, condition: bytes, wanted: Sequence[str]) -> Reply:
        stored = self.where(wanted, stored=True)
        words: list[bytes] = []
        for key in wanted:
            if stored[key][0] == TaskState.FAILED and _ends(stored[key][1], condition):
                words += (key.encode(), _worker_of(stored[key][1]))
        rest = [key for key in wanted if stored[key][0] in {TaskState.QUEUED, TaskState.RUNNING}]
        if rest:
            words += self.session.perform("cancel", (condition, *rest))
        return words

    def _empty(self, named: dict[str, bytes]) -> list[str]:
        words = tuple(chain.from_iterable(named.items()))
        return list(map(_text, self.session.perform("empty_queue", words, self._empty_again, named, words)))

    def _empty_again(self, named: dict[str, bytes], words: tuple[str | bytes, ...]) -> Reply:
        stored = self.where(list(named), stored=True)
        done = [k.encode() for k in named if stored[k][0] == TaskState.FAILED and _ends(stored[k][1], named[k])]
        return done + self.session.perform("empty_queue", words)

    def _read_fused(self, outcome: Outcome | None, reply: Reply) -> tuple[bool, Popped | None]:
        if outcome is not None:
            self.session.held.discard(outcome.key)
        return reply[0] == 1, _popped(reply)

    def _finish_and_pop_again(self, outcome: Outcome | None, behind: str) -> bytes:
        moved = b"\0" if outcome is None else self._move_again("finish", [outcome.key], [outcome.tail])
        taken: bytes = self._take_orphan() or self.session.perform("finish_pop", _fused(None, behind))
        return moved + taken[1:]

    def _pop_again(self) -> Reply:
        return self._take_orphan() or self.session.perform("pop", _NOT_WOKEN)

    def _take_orphan(self) -> bytes | None:
        """Give a task that an earlier, broken call has taken for this session, as `pop` would reply; None for none."""
        while (key := self.session.adopt()) is not None:
            state, stored = self.where([key], stored=True)[key]
            if state is TaskState.RUNNING:
                session, value = _split_owner(stored)
                if session == self.session.id:
                    return b"\0\0" + key.encode() + value
            self.session.held.discard(key)
        return None


def body(key: str, xs: bytes, xs_extra: bytes = NIL) -> bytes:
    """Pack key, inputs and extras as they stand in every record of a task."""
    return b"\xb0" + key.encode() + xs + xs_extra


def queued_row(value: bytes) -> bytes:
    """Give the packed row (seq, key, xs, xs_extra) of a stored task."""
    return value[_HEAD.size :]


def running_row(value: bytes) -> bytes:
    """Put together the packed row of a running task: seq, key, xs, xs_extra, tries, worker."""
    session, task = _split_owner(value)
    worker = None if session.startswith("~") else session
    return b"\x96" + task[_HEAD.size + 1 :] + _pack(_read_head(task)[3] + 1) + _pack(worker)


def _popped(reply: bytes) -> Popped | None:
    """Read which task was taken, if one was: the reply of `pop` and `finish_pop`."""
    if reply[1]:
        log.warning("tasks: %d queued task(s) have vanished from the server and are left out", reply[1])
    if len(reply) == 2:
        return None
    try:
        _, _, name, _, _, timeout, used, stops = _TAKEN.unpack_from(reply)
    except struct.error:
        return Popped(TaskKey(reply[2:18].decode(), 1), b"", 1, None)
    return Popped(TaskKey(name.decode(), used + stops + 1), reply[_TAKEN.size :], used + 1, timeout or None)


def _split_owner(value: bytes) -> tuple[str, bytes]:
    """Take a running task apart: its session, and the task as it is stored."""
    end = 1 + (value[0] if value else 0)
    waits = value[end] if len(value) > end else 0
    return value[1:end].decode(errors="replace"), value[end + 1 + waits :]


def _read_head(task: bytes) -> tuple[int, int, float, int, int]:
    """Read whether a task was born running, its most tries, timeout, tries used and known stops suffered."""
    return _HEAD.unpack_from(task) if len(task) >= _HEAD.size else (0, 0, 0.0, 0, 0)


def _parts(keys: Sequence[str], values: Sequence[bytes]) -> list[tuple[Sequence[str], Sequence[bytes]]]:
    """Cut a long call into steps that do not block the server for long."""
    if not keys:
        return []
    parts = []
    first = total = 0
    for at, value in enumerate(values):
        if at > first and (total + len(value) > MOST_BYTES_A_STEP or at - first == MOST_TASKS_A_STEP):
            parts.append((keys[first:at], values[first:at]))
            first, total = at, 0
        total += len(value)
    return [*parts, (keys[first:], values[first:])]


def _fused(outcome: Outcome | None, behind: str) -> tuple[Any, ...]:
    if outcome is None:
        return "", "", b"", behind
    return (*_result(*outcome), behind)


def _result(key: str, tail: bytes) -> tuple[str, str | int, bytes]:
    """Give the arguments by which a result is handed in: under the attempt that it was made in."""
    return key, key.attempt if type(key) is TaskKey else "", tail


def _ends(record: Reply, tail: bytes) -> bool:
    return isinstance(record, bytes) and record.endswith(tail)


def _worker_of(record: bytes) -> bytes:
    worker = msgspec.msgpack.decode(record)[5]
    return worker.encode() if isinstance(worker, str) else b""


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
