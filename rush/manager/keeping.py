"""Keeping workers going: jobs that were cut short, or held back at a submit limit, are submitted by whoever looks."""

import json
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rush.backends.registry import backend_class
from rush.errors import LimitReached, RushError
from rush.manager import places, placing
from rush.model import Cut, Placement, PlacementState, PlacementStatus, WorkerState
from rush.names import new_worker_id
from rush.store import Ended

if TYPE_CHECKING:
    from rush.manager.rush import Rush

log = logging.getLogger("rush")

PERIOD = 5.0
"""Seconds between two looks of a manager's own thread."""
CLAIM = 300.0
"""Seconds after which a process that wanted to submit is taken for dead."""
RETRY = 30.0
"""Seconds before something that was refused is submitted again."""
_KEPT = ("options", "loop", "paths", "resubmits")


def keep_going(net: "Rush") -> list[str]:
    """Submit what was held back or cut short; give the workers that were submitted."""
    placements = net._store.placements()
    if not any(map(places.is_kept, placements)):
        return []
    net._session.open()
    _replace_ended(net, placements)
    held = [p for p in net._store.placements() if "held" in p.details and "next" not in p.details and _is_free(p)]
    return _submit(net, held)


def may_go_on(net: "Rush") -> bool:
    """Say whether a worker may yet be submitted."""
    keep_going(net)
    ended = net._store.ended_workers()
    return any(
        "held" in p.details or any(_is_open(ended.get(worker)) for worker in p.worker_ids)
        for p in filter(places.is_kept, net._store.placements())
    )


def rounds(net: "Rush", pause: float) -> Iterator[list[str]]:
    """Keep workers going until none runs, waits or may be submitted; give those that each round has submitted."""
    while True:
        submitted = net.keep_workers()
        yield submitted
        waiting = places.pending(net) or (may_go_on(net) and net._store.has_work())
        if not (submitted or net.n_running_workers or waiting):
            return
        time.sleep(pause)


def let_go(net: "Rush", names: Sequence[str] | None) -> None:
    """Submit these workers no more: all, or those of placements that have no others."""
    for placement in filter(places.is_kept, net._store.placements()):
        current: Placement | None = placement
        while current is not None and (names is None or set(current.worker_ids) <= set(names)):
            net._session.open()
            if net._store.swap_placement(current, places.changed(current, next="")):
                break
            found = {p.id: p for p in net._store.placements()}.get(placement.id)
            current = found if found is not None and places.is_kept(found) else None


def watch(net: "Rush", placements: Iterable[Placement]) -> None:
    """Look after jobs from a thread, whatever the manager is doing, while there is one that may be submitted."""
    if any(map(places.is_kept, placements)) and (net._keeper is None or not net._keeper.is_alive()):
        net._keeper = threading.Thread(target=_watch, args=(weakref.ref(net),), daemon=True, name="rush-keep")
        net._keeper.start()


def _watch(reference: "weakref.ref[Rush]") -> None:
    while True:
        time.sleep(PERIOD)
        net = reference()
        if net is None or not _look(net):
            return
        del net


def _look(net: "Rush") -> bool:
    """Look once; say whether another look is worth it. A network that was reset is not to be opened again."""
    with net._keeping:
        if net._keeper is not threading.current_thread():
            return False
        try:
            net.detect_lost_workers()
            return may_go_on(net)
        except (RushError, OSError) as error:
            log.warning("network %s: cannot look after its jobs now: %s", net.network_id, error)
            return True


def _is_open(end: Ended | None) -> bool:
    """Whether a worker that ended like this, or has not ended, may be submitted again."""
    return end is None or end.cut is not None or end.state is WorkerState.LOST


def _goes_on(end: Ended | None, status: PlacementStatus) -> bool:
    """Whether a worker whose job has ended is to be submitted again."""
    if end is not None and end.cut is Cut.LIMIT:
        return True
    return status.interrupted and _is_open(end)


def _replace_ended(net: "Rush", placements: Iterable[Placement]) -> None:
    """Put a placement to be submitted beside each that was cut short, while there is work."""
    candidates = [p for p in placements if places.is_kept(p) and "held" not in p.details]
    over = [(p, status) for p, status in places.polled(net, candidates) if status.state is PlacementState.ENDED]
    if not over:
        return
    store = net._store
    running, ended, has_work = store.running_workers(), store.ended_workers(), store.has_work()
    for placement, status in over:
        if running & set(placement.worker_ids):
            continue
        again = [worker for worker in placement.worker_ids if _goes_on(ended.get(worker), status)]
        if not again:
            store.swap_placement(placement, places.changed(placement, next=""))
        elif has_work:
            _follow(net, placement, [w if w not in ended else new_worker_id() for w in again], status.reason)


def _follow(net: "Rush", placement: Placement, names: Sequence[str], why: str) -> None:
    left = int(placement.details["resubmits"]) - 1
    kept = {name: placement.details[name] for name in _KEPT}
    successor = places.unplaced(
        placement.backend, names, kept | {"resubmits": str(left), "held": f"submitted again: {why}"}
    )
    if net._store.swap_placement(placement, places.changed(placement, next=successor.id), successor):
        log.info("job %s: %s; its workers go on as %s", placement.job_id, why, ", ".join(names))


def _submit(net: "Rush", held: Sequence[Placement]) -> list[str]:
    """Submit placements that were held back, those of one kind together."""
    groups: dict[tuple[str, ...], list[Placement]] = {}
    for placement in held:
        claimed = places.changed(placement, claim=f"{time.time():.0f} {secrets.token_hex(8)}")
        if net._store.swap_placement(placement, claimed):
            kind = (placement.backend, *(placement.details[name] for name in ("options", "loop", "paths")))
            groups.setdefault(kind, []).append(claimed)
    return [worker for group in groups.values() for worker in _submit_group(net, group)]


def _submit_group(net: "Rush", group: Sequence[Placement]) -> list[str]:
    details = group[0].details
    placed: Sequence[Placement] = ()
    why = ""
    try:
        options = json.loads(details["options"])
        backend = backend_class(group[0].backend)(**{**options, "submit_timeout": 0})
        paths = json.loads(details["paths"])
        placed = backend.start([placing.command_for(net, details["loop"], p.worker_ids, paths=paths) for p in group])
    except (RushError, OSError, ValueError, TypeError) as error:
        placed, why = getattr(error, "placements", ()), str(error)
        if not isinstance(error, LimitReached) and why != details["held"]:
            log.warning("network %s: its workers cannot be submitted now: %s", net.network_id, why)
    jobs = {placement.worker_ids: placement for placement in placed}
    submitted: list[str] = []
    for claimed in group:
        job = jobs.get(claimed.worker_ids)
        if job is None:
            tried = {name: value for name, value in claimed.details.items() if name != "claim"}
            net._store.swap_placement(claimed, replace(claimed, details={**tried, "held": why, "tried": _now()}))
            continue
        kept = {name: claimed.details[name] for name in _KEPT if name in claimed.details}
        own = {name: value for name, value in job.details.items() if name not in _KEPT}
        if net._store.swap_placement(claimed, replace(job, id=claimed.id, details={**own, **kept})):
            submitted += job.worker_ids
        else:  # stopped, or reset, meanwhile
            backend.stop([job], kill=True)
    return submitted


def _is_free(placement: Placement) -> bool:
    """Whether nobody is submitting it, and the last attempt is a while ago."""
    claimed = float(placement.details.get("claim", "0").partition(" ")[0])
    return time.time() > max(claimed + CLAIM, float(placement.details.get("tried", "0")) + RETRY)


def _now() -> str:
    return f"{time.time():.0f}"
