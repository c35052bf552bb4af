"""Placing workers: finished command lines for a backend, for a loop that was just stored or long ago."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rush.backends import Backend
from rush.errors import BackendError, LimitReached, RushError
from rush.manager import places
from rush.manager.loops import new_loop_id, worker_arguments
from rush.model import WorkerCommand
from rush.names import new_worker_id
from rush.plan import check_count, setting

if TYPE_CHECKING:
    from rush.manager.rush import Rush

log = logging.getLogger("rush")


def commands_for(net: "Rush", loop_id: str, shares: Sequence[int], *, supervised: bool = False) -> list[WorkerCommand]:
    """Make the command lines for workers of a stored loop, one line for each share of them."""
    commands = []
    for share in shares:
        ids = tuple(new_worker_id() for _ in range(share))
        commands.append(command_for(net, loop_id, ids, supervised=supervised))
    return commands


def command_for(
    net: "Rush", loop_id: str, ids: Sequence[str], *, supervised: bool = False, paths: Sequence[str] = ()
) -> WorkerCommand:
    """Make the command line of one supervisor; `paths` are its words for where modules are."""
    words = worker_arguments(net.network_id, loop_id, ids, supervised=supervised)
    return WorkerCommand(net.network_id, tuple(ids), (*words, *paths), net._secret(), supervised=supervised)


def place(net: "Rush", commands: list[WorkerCommand], backend: Backend, loop_id: str) -> list[str]:
    """Have a backend place the commands, and store where; give the ids of the workers.

    What a submit limit holds back is stored as well, and submitted later, where the backend says how.

    Raises
    ------
    BackendError
        Some could not be placed; the others run, and are stored, too.
    """
    try:
        placed = backend.start(commands)
    except BackendError as error:
        can_wait = isinstance(error, LimitReached) and "options" in backend.continuation()
        if not can_wait:
            net._remember(error.placements, backend, loop_id)
            raise
        there = {place.worker_ids for place in error.placements}
        rest = [command for command in commands if command.worker_ids not in there]
        placed = [*error.placements, *places.held_back(rest, backend, loop_id, str(error))]
        log.warning("%s; %d are held back, and submitted as soon as they can be", error, len(rest))
    net._remember(placed, backend, loop_id)
    return [worker for command in commands for worker in command.worker_ids]


def start_stored(net: "Rush", backend: Backend, n_workers: int | None, loop_id: str | None) -> list[str]:
    """Start workers of a loop that the network holds, by default the one stored last; give their ids.

    Raises
    ------
    RushError
        The network holds no such loop.
    """
    shares = shares_for(n_workers, backend)
    net._check_reach(backend)
    name = _stored_for(net, backend, loop_id)
    return place(net, commands_for(net, name, shares), backend, name)


def preview_stored(net: "Rush", backend: Backend, n_workers: int | None, loop_id: str | None) -> str:
    """Show what `start_stored` would have the backend run; nothing is started or stored."""
    return backend.preview(commands_for(net, stored_loop(net, loop_id), shares_for(n_workers, backend)))


def stored_loop(net: "Rush", loop_id: str | None) -> str:
    """Give the id of a loop that the network holds, by default the one stored last.

    Raises
    ------
    RushError
        There is none.
    """
    try:
        return net._store.loop_id(loop_id)
    except KeyError as error:
        raise RushError(error.args[0]) from None


def shares_for(n_workers: int | None, backend: Backend) -> Sequence[int]:
    """Share out the workers to start among supervisors: as many as asked, else as planned, else as the backend says."""
    count: int = setting("n_workers", n_workers, backend.default_workers())
    check_count(count, "n_workers")
    return backend.shares(count)


def _stored_for(net: "Rush", backend: Backend, loop_id: str | None) -> str:
    """Store a loop anew if it was stored for another backend: workers learn from it what they run under."""
    name = stored_loop(net, loop_id)
    spec = net._store.read_loop(name)
    wanted = replace(spec, backend=backend.name, gpus_per_worker=backend.gpus_per_worker)
    if wanted != spec:
        name = new_loop_id()
        net._session.open()
        net._store.put_loop(name, wanted)
    return name
