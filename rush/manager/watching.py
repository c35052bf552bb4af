"""Watching and stopping workers: what a manager sees in the store, and what it sees of their processes."""

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import psutil

from rush.config import node_name
from rush.errors import RushError, WorkerStartError
from rush.manager import keeping, places
from rush.model import Ending, Placement, PlacementState, StopKind, WorkerState
from rush.store.events import Listener, deadline_after, remaining
from rush.store.store import LONGEST_SIGHT

if TYPE_CHECKING:
    import pandas as pd

    from rush.manager.rush import Rush

log = logging.getLogger("rush")

COLUMNS = ("worker_id", "pid", "hostname", "heartbeat", "state", "reason", "backend")
_SLACK = 1.0
_POLL = 0.2
_HURRY, _SELDOM = 0.5, 5.0


def wait_for_workers(net: "Rush", n: int, names: Sequence[str] | None, timeout: float | None) -> None:
    """Wait until `n` workers, or `n` of `names`, have registered."""
    deadline = deadline_after(timeout)
    listener = Listener(net._store)
    listener.announce()
    while True:
        registered = {info.worker_id for info in net._store.workers()}
        here = registered if names is None else registered & set(names)
        if len(here) >= n:
            return
        _raise_start_failure(net, [w for w in names or net._started if w not in registered])
        left = remaining(deadline, _POLL)
        if left <= 0:
            raise TimeoutError(f"{len(here)} of {n} worker(s) have registered after {timeout:g} s")
        listener.wait(left)


def _raise_start_failure(net: "Rush", missing: Sequence[str]) -> None:
    """Raise if one of these workers, which have not registered, has died."""
    if not missing:
        return
    ended = net._store.ended_workers()
    for worker in missing:
        if worker in ended:
            raise WorkerStartError(
                _with_tail(f"worker {worker!r} died before it registered: {ended[worker].reason}", ended[worker].tail)
            )
    keeping.keep_going(net)
    waiting = [p for p in places.current(net) if set(p.worker_ids) & set(missing)]
    for placement, status in places.polled(net, waiting):
        if status.state is not PlacementState.ENDED:
            continue
        late = {info.worker_id for info in net._store.workers()} | set(net._store.ended_workers())
        dead = [worker for worker in placement.worker_ids if worker in missing and worker not in late]
        backend = net._backend_of(placement)
        if dead and backend is not None:
            text = f"worker {dead[0]!r} died before it registered: {status.reason or 'its process ended'}"
            raise WorkerStartError(_with_tail(text, backend.tail(placement)))


def _with_tail(text: str, tail: str) -> str:
    return f"{text}\n{tail.rstrip()}" if tail.strip() else text


def stop_workers(net: "Rush", kind: StopKind, names: Sequence[str] | None, wait: float) -> None:
    """Tell workers to stop; kill sees to it that they do."""
    store = net._store
    keeping.let_go(net, names)
    pending = places.pending(net)  # before the running ones: a worker that registers meanwhile is in both
    running = store.running_workers()
    targets = sorted(running) if names is None else [w for w in names if w in running]
    unborn = [p for p in pending if names is None or set(p.worker_ids) <= set(names)]
    if names is not None:
        strange = [w for w in names if w not in running and not any(w in p.worker_ids for p in unborn)]
        if strange:
            log.warning("stop_workers: %d worker(s) are not running: %s", len(strange), ", ".join(strange))
    for placement in unborn:
        _stop_placement(net, placement, kill=kind is StopKind.KILL)
    if not targets:
        return
    net._session.open()
    infos = {info.worker_id: info for info in store.workers()}
    store.stop(kind, targets, {infos[w].supervisor or w for w in targets if w in infos})
    if kind is StopKind.TERMINATE:
        return
    ending = Ending("killed by stop_workers", uses_try=False)
    deaf = [w for w in targets if w in infos and not infos[w].heartbeat]
    _bury(net, deaf, ending)
    left = _wait_until_ended(net, targets, wait)
    if left:
        for placement in store.placements():
            if set(placement.worker_ids) & left and not (set(placement.worker_ids) & running - set(targets)):
                _stop_placement(net, placement, kill=True)
        _bury(net, sorted(left), ending)


def stop_started(net: "Rush", grace: float) -> None:
    """Terminate the workers that this manager started, and after `grace` seconds kill them."""
    started = places.with_successors(net, net._started)
    unborn = {w for p in places.pending(net) for w in p.worker_ids} & started
    running = started & net._store.running_workers()
    if running:
        stop_workers(net, StopKind.TERMINATE, sorted(running), 0)
        _wait_until_ended(net, sorted(running), grace)
    left = sorted((started & net._store.running_workers()) | unborn)
    if left:
        stop_workers(net, StopKind.KILL, left, grace)


def _wait_until_ended(net: "Rush", names: Sequence[str], wait: float) -> set[str]:
    """Wait until these workers have ended; give those that have not."""
    wanted = set(names)
    listener = Listener(net._store)
    for _ in listener.until(lambda: not wanted & net._store.running_workers(), wait, most=1.0):
        pass
    return wanted & net._store.running_workers()


def _stop_placement(net: "Rush", placement: Placement, *, kill: bool) -> None:
    backend = net._backend_of(placement)
    if backend is None:
        log.warning("no backend %r here to stop the worker(s) %s", placement.backend, ", ".join(placement.worker_ids))
        return
    try:
        backend.stop([placement], kill=kill)
    except (RushError, OSError) as error:
        log.warning("could not stop the worker(s) %s: %s", ", ".join(placement.worker_ids), error)


def _bury(net: "Rush", names: Sequence[str], ending: Ending) -> list[str]:
    known = net._store.incarnations(names)
    return [worker for worker, incarnation in known.items() if net._store.bury(worker, incarnation, ending)]


def has_pending_workers(net: "Rush") -> bool:
    """Say whether a worker that was placed, or may be submitted again, may still register."""
    return bool(places.pending(net)) or keeping.may_go_on(net)


def detect_lost_workers(net: "Rush") -> list[str]:
    """Find lost workers, then submit those again that may be."""
    lost = find_lost(net)
    keeping.keep_going(net)
    return lost


def find_lost(net: "Rush") -> list[str]:
    """Find lost workers by their processes and by their heartbeats, with the second look at those."""
    net._session.open()
    lost = reap_placements(net)
    deadline = time.monotonic() + LONGEST_SIGHT + _SLACK
    reply = net._store.scan()
    lost += reply.lost
    while reply.next_look is not None and time.monotonic() + reply.next_look < deadline:
        time.sleep(reply.next_look + 0.01)
        reply = net._store.scan()
        lost += reply.lost
    return _announced(net, lost)


def look_after(net: "Rush", *, hurry: bool) -> float:
    """Notice lost workers on behalf of a call that waits for them; give the seconds until it is to call again."""
    if time.monotonic() - net._last_look >= (_HURRY if hurry else _SELDOM):
        net._last_look = time.monotonic()
        _announced(net, reap_placements(net))
        keeping.keep_going(net)
    if time.monotonic() >= net._next_scan:
        net._session.open()
        reply = net._store.scan()
        _announced(net, reply.lost)
        looks = [look + 0.01 for look in (reply.next_look, reply.next_check) if look is not None]
        net._next_scan = time.monotonic() + min([_SELDOM, *looks])
    return max(0.0, min(_HURRY if hurry else _SELDOM, net._next_scan - time.monotonic()))


def _announced(net: "Rush", lost: list[str]) -> list[str]:
    ended = net._store.ended_workers() if lost else {}
    for worker in lost:
        log.warning("worker %s is lost: %s", worker, ended[worker].reason if worker in ended else "it has come back")
    return lost


def reap_placements(net: "Rush") -> list[str]:
    """End the workers whose supervisors are seen dead from here."""
    running = net._store.running_workers()
    if not running:
        return []
    lost = []
    for placement, status in places.polled(net, [p for p in net._store.placements() if running & set(p.worker_ids)]):
        if status.state is PlacementState.ENDED:
            reason = f"worker lost: its supervisor is gone ({status.reason or 'process ended'})"
            tail = backend.tail(placement) if (backend := net._backend_of(placement)) is not None else ""
            ending = Ending(reason, uses_try=True, state=WorkerState.LOST, tail=tail)
            lost += _bury(net, [w for w in placement.worker_ids if w in running], ending)
    return lost


def watch(net: "Rush", placements: Iterable[Placement]) -> None:
    """Watch supervisors on this machine from a thread, so that their death is noticed at once."""
    for placement in placements:
        if placement.pid is not None and placement.host == node_name():
            threading.Thread(target=_watch, args=(net, placement.pid), daemon=True, name="rush-watch").start()


def _watch(net: "Rush", pid: int) -> None:
    try:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it has ended before it was watched
            _wait_for_exit(pid)
        if net._started:
            reap_placements(net)
    except (RushError, OSError) as error:
        log.debug("the end of supervisor %d was not followed up: %s", pid, error)


def _wait_for_exit(pid: int) -> None:
    if hasattr(os, "pidfd_open"):
        descriptor = os.pidfd_open(pid)
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            poller.poll()
        finally:
            os.close(descriptor)
    else:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)


def worker_table(net: "Rush") -> "pd.DataFrame":
    """Give one row for each worker, those included that were placed but have not registered."""
    import pandas as pd

    table = pd.DataFrame(worker_rows(net), columns=list(COLUMNS))
    return table.astype({"pid": "Int64", "heartbeat": "boolean"})


def worker_rows(net: "Rush") -> list[tuple[object, ...]]:
    """Give the values of `COLUMNS` for each worker."""
    store = net._store
    infos, running, ended = store.workers(), store.running_workers(), store.ended_workers()
    rows: list[tuple[object, ...]] = []
    for info in infos:
        end = ended.get(info.worker_id)
        state = WorkerState.RUNNING if info.worker_id in running or end is None else end.state
        reason = end.reason if end is not None and state is not WorkerState.RUNNING else None
        rows.append((info.worker_id, info.pid, info.hostname, info.heartbeat, state.value, reason, info.backend))
    registered = {info.worker_id for info in infos}
    unborn = [p for p in places.current(net) if not set(p.worker_ids) <= registered]
    states = {placement.id: status for placement, status in places.polled(net, unborn)}
    for placement in unborn:
        status = states.get(placement.id)
        for worker in placement.worker_ids:
            if worker in registered:
                continue
            end = ended.get(worker)
            dead = end is not None or (status is not None and status.state is PlacementState.ENDED)
            state = WorkerState.TERMINATED if dead else WorkerState.PENDING
            reason = end.reason if end is not None else (status.reason or None if status is not None else None)
            rows.append((worker, None, placement.host, None, state.value, reason, placement.backend))
    return rows


def tails(net: "Rush") -> list[tuple[Placement, str]]:
    """Give all placements, each with the last lines of its supervisor's stderr."""
    found = [(placement, net._backend_of(placement)) for placement in net._store.placements()]
    return [(placement, "" if backend is None else backend.tail(placement)) for placement, backend in found]
