"""What became of the campaign: the server's own keys against what was pushed, and what the loops wrote down."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.chaos.loops import LEDGER, square


@dataclass
class Tally:
    """The counts of a campaign. Those in `WRONG` are to be 0."""

    counts: dict[str, int] = field(default_factory=dict)
    conditions: Counter = field(default_factory=Counter)
    tries: Counter = field(default_factory=Counter)

    WRONG = (
        "missing",
        "in two states",
        "finished twice",
        "unfinished",
        "one attempt run twice",
        "results acknowledged to another than wrote them",
        "results acknowledged twice",
        "wrong results",
        "results without an effect",
        "rows twice in a frame",
        "remains in the server",
        "loops that failed by themselves",
        "processes left",
    )

    @property
    def wrong(self):
        return {name: self.counts[name] for name in self.WRONG if self.counts.get(name)}


def take(client, keys, pushed, folder):
    """Count; `client` is a plain connection, `pushed` the keys of the queue's tasks."""
    ledger = _read_ledger(folder)
    queued, running = _keys(client.zrange(keys.queue, 0, -1)), _keys(client.hkeys(keys.running))
    failed = {key.decode(): msgspec.msgpack.decode(value) for key, value in client.hgetall(keys.failed).items()}
    log = [msgspec.msgpack.decode(record) for record in client.lrange(keys.log, 0, -1)]
    finished = [record[1] for record in log]
    states = Counter([*queued, *running, *failed, *set(finished)])
    known = set(pushed) | {key for key, *_ in ledger["made"]}
    acknowledged = [(key, worker) for key, _, worker in ledger["finished"]]
    writers = {record[1]: record[5] for record in log}
    attempts = Counter((key, attempt) for key, attempt, _ in ledger["began"])
    effects = Counter(key for key, *_ in ledger["began"])
    tally = Tally()
    tally.counts = {
        "tasks pushed to the queue": len(pushed),
        "tasks of the decentralised loop": len(states) - len(pushed),
        "finished": len(finished),
        "failed": len(failed),
        "missing": len((known | {key for key, _ in acknowledged}) - set(states)),
        "in two states": sum(count > 1 for count in states.values()),
        "finished twice": len(finished) - len(set(finished)),
        "unfinished": len(queued) + len(running),
        "one attempt run twice": sum(count > 1 for count in attempts.values()),
        "results acknowledged to another than wrote them": sum(writers.get(key) != who for key, who in acknowledged),
        "results acknowledged twice": len(acknowledged) - len(set(acknowledged)),
        "wrong results": sum(record[6] != {"y": square(record[2]["x"])} for record in log),
        "results without an effect": len((set(finished) & set(pushed)) - set(effects)),
        "rows twice in a frame": len(ledger["twice_in_a_frame"]),
        "remains in the server": _remains(client, keys, queued, finished),
        "tasks whose effect happened more than once": sum(count > 1 for count in effects.values()),
    }
    tally.conditions = Counter(record[8]["message"] for record in failed.values())
    tally.tries = Counter(record[4] for record in log)
    return tally


def _remains(client, keys, queued, finished):
    """Count what is still kept of tasks that are over, and what the index of the log says wrong or leaves out."""
    kept = _keys(client.hkeys(keys.queued)) ^ queued
    index = {key.decode(): int(position) for key, position in client.hgetall(keys.index).items()}
    covered = finished[: index.pop("", 0)]
    wrong = sum(finished[position] != key for key, position in index.items())
    return len(kept) + wrong + len(set(covered) - set(index))


def _keys(found):
    return {key.decode() for key in found}


def _read_ledger(folder):
    notes = defaultdict(list)
    for line in (Path(folder) / LEDGER).read_text().splitlines():
        what, key, attempt, worker = line.split()
        notes[what].append((key, int(attempt), worker))
    return notes
