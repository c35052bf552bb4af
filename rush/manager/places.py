"""Where workers were put, as it is stored: whether they have begun, wait, are held back, or are followed by others.

What it takes to submit a placement later, or again, stands in its `details`, so any process that can submit jobs may:

- ``options``, ``loop``, ``paths``: the backend's options, the stored loop, and where its modules are.
- ``resubmits``: how often its workers may be submitted again.
- ``held``: why it has not been submitted yet; it has no job then.
- ``claim``: who is submitting it at this moment, and since when; ``tried``: when that last failed.
- ``next``: the placement that goes on in its stead; '' when nobody does.

A placement changes only if it still is what the process that changes it has read, so no two submit the same.
"""

import json
import logging
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rush.backends import Backend
from rush.backends.processes import module_paths
from rush.errors import RushError
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand

if TYPE_CHECKING:
    from rush.manager.rush import Rush

log = logging.getLogger("rush")


def polled(net: "Rush", placements: Iterable[Placement]) -> list[tuple[Placement, PlacementStatus]]:
    """Ask each backend once about its placements; one that fails knows nothing."""
    groups: dict[str, list[Placement]] = {}
    found = []
    for placement in placements:
        if "held" in placement.details:
            found.append((placement, _status_of_held(placement)))
        else:
            groups.setdefault(placement.backend, []).append(placement)
    for group in groups.values():
        backend = net._backend_of(group[0])
        if backend is None:
            continue
        try:
            with net._polling:
                states = backend.poll(group)
        except (RushError, OSError) as error:
            log.warning("backend %s cannot say what became of its workers: %s", backend.name, error)
            continue
        found += [(placement, states[placement.id]) for placement in group if placement.id in states]
    return found


def current(net: "Rush") -> list[Placement]:
    """Give the placements that no other has taken the place of."""
    return [placement for placement in net._store.placements() if not placement.details.get("next")]


def pending(net: "Rush") -> list[Placement]:
    """Give the placements of which a worker may still register."""
    store = net._store
    settled = {info.worker_id for info in store.workers()} | set(store.ended_workers())
    waiting = [p for p in current(net) if not set(p.worker_ids) <= settled]
    gone = {p.id for p, status in polled(net, waiting) if status.state is PlacementState.ENDED}
    return [p for p in waiting if p.id not in gone]


def with_successors(net: "Rush", names: Iterable[str]) -> set[str]:
    """Give workers with those that went on in their stead."""
    found = set(names)
    places = {placement.id: placement for placement in net._store.placements()}
    for placement in places.values():
        if found & set(placement.worker_ids):
            step: Placement | None = placement
            while step is not None:
                found.update(step.worker_ids)
                step = places.get(step.details.get("next", ""))
    return found


def with_loop(placement: Placement, loop_id: str) -> Placement:
    """Add to a placement what it takes to submit it again."""
    if "options" not in placement.details:
        return placement
    own = {"loop": loop_id, "paths": json.dumps(module_paths())}
    return replace(placement, details={**placement.details, **own})


def held_back(commands: Iterable[WorkerCommand], backend: Backend, loop_id: str, why: str) -> list[Placement]:
    """Give placements for commands that are to be submitted later."""
    details = {**backend.continuation(), "held": why}
    made = [unplaced(backend.name, command.worker_ids, details) for command in commands]
    return [with_loop(placement, loop_id) for placement in made]


def is_kept(placement: Placement) -> bool:
    """Say whether a placement may yet be submitted, or submitted again."""
    details = placement.details
    return "next" not in details and ("held" in details or details.get("resubmits", "0") != "0")


def changed(placement: Placement, **details: str) -> Placement:
    """Give a placement with other details."""
    return replace(placement, details={**placement.details, **details})


def unplaced(backend: str, names: Sequence[str], details: Mapping[str, str]) -> Placement:
    """Give a placement that has no job yet."""
    return Placement(backend, secrets.token_hex(8), tuple(names), created=time.time(), details=dict(details))


def _status_of_held(placement: Placement) -> PlacementStatus:
    """Say what a placement without a job is waiting for."""
    if "next" in placement.details:
        return PlacementStatus(PlacementState.ENDED, "it was stopped before it was submitted")
    return PlacementStatus(PlacementState.PENDING, f"held back: {placement.details['held']}")
