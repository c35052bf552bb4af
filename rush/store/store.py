"""One network in the server: its workers, loops, placements, logs and events. No sessions, no tasks of one's own."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from rush.config import RedisConfig
from rush.errors import ConnectionFailed, RushError
from rush.keys import Keys, check_id
from rush.model import Ending, LoopSpec, Placement, StopKind, WorkerInfo, WorkerState
from rush.store.channel import Readers, Refused
from rush.store.information import parsed
from rush.store.replies import Beat, BeatReply, Counts, Ended, ScanReply
from rush.store.scripts import script

PROTOCOL = 1
OLDEST_SERVER = 7
MOST_KNOWN_STOPS = 20
SHORTEST_SIGHT, LONGEST_SIGHT = 0.75, 3.0
EPOCH_KEPT = 24 * 3600
LOGS_A_READ = 10_000

log = logging.getLogger("rush")
T = TypeVar("T")
_pack = msgspec.msgpack.Encoder().encode


class Store:
    """A network as every process sees it.

    Parameters
    ----------
    config
        How to reach the server.
    network_id
        Its name; all its keys stand under it.
    """

    def __init__(self, config: RedisConfig, network_id: str) -> None:
        self.config = config
        self.network_id = check_id(network_id, "network_id")
        self.keys = Keys(network_id)
        self.readers = Readers(config, self.keys.meta)
        self.epoch = ""
        self._said: set[str] = set()

    def close(self) -> None:
        """Close the connections for reading."""
        self.readers.close()

    def check_server(self) -> None:
        """Refuse a server that is out of reach, too old, or speaks another protocol of rush; warn of one that evicts.

        Raises
        ------
        ConnectionFailed
            With the reason.
        """
        fields = parsed(self.readers.ask("INFO"))
        version = fields.get("redis_version", "0")
        if "valkey_version" not in fields and int(version.partition(".")[0]) < OLDEST_SERVER:
            raise ConnectionFailed(
                f"the server at {self.config.address} is Redis {version}; "
                f"rush needs Redis {OLDEST_SERVER} or later, or Valkey"
            )
        policy = fields.get("maxmemory_policy", "")
        if fields.get("maxmemory", "0") != "0" and policy.startswith("allkeys"):
            self._complain(f"a full server would throw its data away (maxmemory-policy {policy}); set it to noeviction")
        protocol = self.readers.ask("HGET", self.keys.meta, "protocol")
        if protocol is not None and protocol != str(PROTOCOL).encode():
            theirs = protocol.decode(errors="replace")
            raise RushError(
                f"network {self.network_id!r} speaks protocol {theirs} of rush, this version speaks {PROTOCOL}"
            )

    def counts(self) -> Counts:
        """Count tasks and workers in one step."""
        k = self.keys
        counts = Counts(*self.readers.run(script("counts"), 6, k.queue, k.running, k.log, k.failed, k.workers, k.beats))
        return counts if counts.finished >= 0 else replace(counts, finished=self.length_of_no_log())

    def put_loop(self, loop_id: str, spec: LoopSpec) -> None:
        """Store a worker loop."""
        self._put(self.keys.loops, {loop_id: _pack(spec)})
        self._put(self.keys.meta, {"last_loop": loop_id})

    def loop_id(self, loop_id: str | None = None) -> str:
        """Give the id of a worker loop, by default of the one stored last.

        Raises
        ------
        KeyError
            There is none.
        """
        name = loop_id or (self.readers.ask("HGET", self.keys.meta, "last_loop") or b"").decode()
        if not self.readers.ask("HEXISTS", self.keys.loops, name):
            raise self._no_loop(loop_id)
        return name

    def read_loop(self, loop_id: str | None = None) -> LoopSpec:
        """Read a worker loop, by default the one stored last, and learn the network's epoch.

        Raises
        ------
        KeyError
            There is none.
        """
        epoch, last = self.readers.ask("HMGET", self.keys.meta, "epoch", "last_loop")
        name = loop_id or (last or b"").decode()
        packed = self.readers.ask("HGET", self.keys.loops, name)
        if epoch is None or packed is None:
            raise self._no_loop(loop_id)
        self.epoch = epoch.decode()
        try:
            return msgspec.msgpack.decode(packed, type=LoopSpec)
        except msgspec.DecodeError as error:
            raise RushError(
                f"worker loop {name!r} of network {self.network_id!r} cannot be read; another version of rush or "
                f"somebody else has written it: {error}"
            ) from error

    def _no_loop(self, loop_id: str | None) -> KeyError:
        named = f"no worker loop {loop_id!r}" if loop_id else "no worker loop"
        return KeyError(f"{named} is stored for network {self.network_id!r}; start_workers and worker_script store one")

    def put_placements(self, placements: Iterable[Placement]) -> None:
        """Store where workers were put."""
        packed = {placement.id: _pack(placement) for placement in placements}
        if packed:
            self._put(self.keys.placements, packed)

    def swap_placement(self, old: Placement, new: Placement, successor: Placement | None = None) -> bool:
        """Put `new` where `old` stands, and `successor` beside it, unless somebody else has changed it since."""
        k = self.keys
        words = [old.id, _pack(old), _pack(new), *(() if successor is None else (successor.id, _pack(successor)))]
        return bool(self.readers.run(script("swap"), 2, k.meta, k.placements, self.epoch, *words) == 1)

    def placements(self) -> list[Placement]:
        """Read where workers were put."""
        packed = self.readers.ask("HVALS", self.keys.placements)
        return self._readable(packed, Placement, "placement(s)")

    def has_work(self) -> bool:
        """Say whether a worker that joins finds work: tasks are open, or workers make their own."""
        counts = self.counts()
        return bool(counts.queued or counts.running or self.readers.ask("HEXISTS", self.keys.meta, "own_tasks"))

    def workers(self) -> list[WorkerInfo]:
        """Read the descriptions of all workers that ever registered, in that order."""
        packed = self.readers.ask("HVALS", self.keys.workers)
        infos = self._readable(packed, WorkerInfo, "description(s) of workers")
        return sorted(infos, key=lambda info: info.registered)

    def running_workers(self) -> set[str]:
        """Read the ids of the workers that are running."""
        return set(map(_text, self.readers.ask("ZRANGE", self.keys.beats, 0, -1)))

    def ended_workers(self) -> dict[str, Ended]:
        """Read how workers ended, those included that never registered."""
        pairs = self.readers.ask("HGETALL", self.keys.ended)
        found: dict[str, Ended] = {}
        for worker, packed in zip(pairs[::2], pairs[1::2], strict=True):
            for ended in self._readable([packed], Ended, "ending(s) of workers"):
                found[_text(worker)] = ended
        return found

    def incarnations(self, worker_ids: Sequence[str]) -> dict[str, int]:
        """Read under which incarnation each of these workers writes; one that has ended is left out."""
        if not worker_ids:
            return {}
        found = self.readers.ask("HMGET", self.keys.sessions, *worker_ids)
        return {worker: int(value) for worker, value in zip(worker_ids, found, strict=True) if value is not None}

    def beat(self, beats: Sequence[Beat]) -> BeatReply:
        """Renew heartbeats, and hear what the workers are told to do."""
        k = self.keys
        words = [word for beat in beats for word in (beat.worker_id, beat.incarnation, round(beat.expire * 1000))]
        reply = self.readers.run(
            script("beat"), 6, k.meta, k.sessions, k.beats, k.suspects, k.stops, k.cancels, self.epoch, *words
        )
        if reply is None:
            return BeatReply([], {}, [], None, gone=True)
        refused, stops, cancels, due = reply
        return BeatReply(
            [worker.decode() for worker in refused],
            {worker.decode(): StopKind(kind.decode()) for worker, kind in zip(stops[::2], stops[1::2], strict=True)},
            [(key.decode(), worker.decode()) for key, worker in zip(cancels[::2], cancels[1::2], strict=True)],
            None if due < 0 else due / 1000,
        )

    def scan(self) -> ScanReply:
        """Declare workers lost whose heartbeat has run out, and recover their tasks.

        A worker is lost at the second sight, a fifth of its heartbeat's expiry after the first (0.75 s at least, 3 s at
        most): were it cut off like everybody else by a server that stood still, it would have come back meanwhile. And
        none is within one expiry after the server restarted or failed over, or after nobody's heartbeat had come for
        as long as that.
        """
        k = self.keys
        sights = (round(SHORTEST_SIGHT * 1000), round(LONGEST_SIGHT * 1000))
        reply = self.readers.run(
            script("scan"),
            *(4, k.meta, k.beats, k.vitals, k.suspects, self.epoch, *sights),
        )
        if reply is None:
            return ScanReply([])
        overdue, look, due = reply
        lost = [worker for worker in map(_text, overdue) if self._bury_lost(worker)]
        return ScanReply(lost, *(None if ms < 0 else ms / 1000 for ms in (look, due)))

    def bury(self, worker_id: str, incarnation: int | None, ending: Ending) -> bool:
        """End a worker: fence it, and let its running tasks fail or go back to the queue's head.

        Does nothing, and says False, when the worker has registered anew since, or was ended by somebody else.
        """
        return self._bury(worker_id, "" if incarnation is None else str(incarnation), ending)

    def stop(self, kind: StopKind, worker_ids: Sequence[str], supervisor_ids: Iterable[str]) -> list[str]:
        """Tell workers to stop and wake them and their supervisors; give those that are not running."""
        k = self.keys
        pokes = [k.poke(name) for name in {*worker_ids, *supervisor_ids}]
        keys = (k.meta, k.beats, k.stops, *pokes)
        reply = self.readers.run(script("stop"), len(keys), *keys, self.epoch, kind.value, *worker_ids)
        return [worker.decode() for worker in reply or ()]

    def stop_order(self, worker_id: str) -> StopKind | None:
        """Read whether a worker was told to stop."""
        order = self.readers.ask("HGET", self.keys.stops, worker_id)
        return None if order is None else StopKind(order.decode())

    def poke(self, *names: str) -> None:
        """Wake workers that block in a pop, or supervisors, by their ids."""
        if names:
            pokes = [self.keys.poke(name) for name in names]
            self.readers.run(script("poke"), 1 + len(pokes), self.keys.meta, *pokes, self.epoch)

    def still_running(self, worker_id: str, key: str) -> bool:
        """Say whether a worker is still at work on a task that was cancelled."""
        owner = self.readers.ask("HGET", self.keys.cancels, key)
        return owner is not None and owner.decode() == worker_id

    def put_user(self, fields: Mapping[bytes, bytes]) -> None:
        """Write fields of the user's own hashes."""
        self._put(self.keys.user, fields)

    def read_user(self, fields: Sequence[bytes]) -> list[bytes | None]:
        """Read fields of the user's own hashes."""
        values: list[bytes | None] = self.readers.ask("HMGET", self.keys.user, *fields)
        return values

    def append_logs(self, records: Sequence[bytes]) -> None:
        """Append log records; those of a network that is gone are dropped."""
        if not self.epoch:
            self.learn_epoch()
        self.readers.run(script("log"), 2, self.keys.meta, self.keys.logs, self.epoch, *records)

    def read_logs(self, first: int = 0) -> list[bytes]:
        """Read the log records from a position on."""
        records: list[bytes] = []
        while True:
            start = first + len(records)
            part = self.read_list(self.keys.logs, start, start + LOGS_A_READ - 1)
            records += part
            if len(part) < LOGS_A_READ:
                return records

    def read_list(self, key: bytes, first: int, last: int) -> list[bytes]:
        """Read part of a list, both ends included; what is no list is empty, and said so once."""
        try:
            records: list[bytes] = self.readers.ask("LRANGE", key, first, last)
        except Refused as refusal:
            if refusal.word != "WRONGTYPE":
                raise
            self._complain(f"{key.decode()} is no list; somebody else has written there, and it is taken for empty")
            return []
        return records

    def length_of_no_log(self) -> int:
        """Give the length of a log that is no list, and say so once."""
        return len(self.read_list(self.keys.log, 0, 0))

    def learn_epoch(self) -> str:
        """Read the network's epoch; '' if it has none yet."""
        epoch = self.readers.ask("HGET", self.keys.meta, "epoch")
        self.epoch = "" if epoch is None else epoch.decode()
        return self.epoch

    def reset(self, fresh_epoch: str) -> None:
        """Forget all tasks, and all workers unless `fresh_epoch` is ''."""
        k = self.keys
        keys = (
            *(k.meta, k.events, k.workers, k.queued, k.queue, k.running, k.log, k.index, k.failed, k.bell),
            *(k.cancels, k.user, k.sessions, k.ended, k.beats, k.vitals, k.suspects, k.stops, k.loops, k.logs),
            k.placements,
        )
        self.readers.run(script("reset"), len(keys), *keys, self.epoch, fresh_epoch, k.prefix, EPOCH_KEPT)

    def _readable(self, packed: Iterable[bytes], kind: type[T], what: str) -> list[T]:
        """Decode what is stored, and leave out what is not rush's."""
        found, lost = [], 0
        for value in packed:
            try:
                found.append(msgspec.msgpack.decode(value, type=kind))
            except msgspec.DecodeError:
                lost += 1
        if lost:
            self._complain(f"{lost} {what} cannot be read and are left out")
        return found

    def _complain(self, text: str) -> None:
        """Say something once, however often it is met."""
        if text not in self._said:
            self._said.add(text)
            log.warning("network %s: %s", self.network_id, text)

    def _put(self, key: bytes, fields: Mapping[Any, bytes | str]) -> None:
        words = [word for pair in fields.items() for word in pair]
        if self.readers.run(script("put"), 2, self.keys.meta, key, self.epoch, *words) is None:
            raise RushError(f"network {self.network_id!r} was reset by somebody else, or its server has lost it")

    def _bury_lost(self, worker_id: str) -> bool:
        vitals = self.readers.ask("HGET", self.keys.vitals, worker_id) or b"0 "
        seconds = int(vitals.split(b" ")[0]) / 1000
        reason = f"worker lost: no heartbeat for {seconds:g} s"
        return self._bury(worker_id, "lost", Ending(reason, uses_try=True, state=WorkerState.LOST))

    def _bury(self, worker_id: str, incarnation: str, ending: Ending) -> bool:
        k = self.keys
        keys = (
            *(k.sessions, k.events, k.ended, k.beats, k.suspects, k.stops, k.cancels, k.queued, k.queue),
            *(k.running, k.failed, k.bell, k.poke(worker_id), k.meta),
        )
        often = f"stopped {MOST_KNOWN_STOPS} times while running, the last time: {ending.reason}"
        args = (
            *(worker_id, incarnation, _pack(Ended(ending.state, ending.reason, ending.tail, time.time(), ending.cut))),
            *(str(int(ending.uses_try)), ending.key or "", str(int(ending.respawn)), pack_condition(ending.reason)),
            *(pack_condition(often), MOST_KNOWN_STOPS, self.epoch),
        )
        return self.readers.run(script("bury"), len(keys), *keys, *args) is not None


def pack_condition(message: str) -> bytes:
    """Pack the condition of a task that rush itself fails."""
    return _pack({"message": message, "type": None, "traceback": None})


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
