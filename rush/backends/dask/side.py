"""What runs inside Dask workers: supervisors as processes beside them, which end with them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from distributed import Worker, WorkerPlugin

from rush.backends.local import Local
from rush.config import visible_devices
from rush.errors import BackendError
from rush.model import Placement, PlacementStatus, WorkerCommand

_PLUGIN = "rush-supervisors"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Order:
    """One supervisor to be started beside a Dask worker.

    Attributes
    ----------
    python, folder
        The interpreter, and where the folder with its output is made; None for this process's and the system's.
    devices
        The accelerators of its workers, where nothing restricts those that the Dask worker may use.
    """

    command: WorkerCommand
    python: str | None
    folder: str | None
    devices: tuple[str, ...] = ()


class _Ties(WorkerPlugin):
    """Has the supervisors drain when their Dask worker closes; when it dies, the pipe to them breaks and they end."""

    def __init__(self) -> None:
        self.placed: list[Placement] = []

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - distributed's signature
        """Stop them."""
        Local().stop(self.placed, kill=False)


async def place(orders: Sequence[Order], dask_worker: Any = None) -> list[Placement | str]:
    """Start supervisors; give where they are, or why one could not be started."""
    if _PLUGIN not in dask_worker.plugins:
        await dask_worker.plugin_add(_Ties(), name=_PLUGIN)
    placed = await _aside(lambda: [_start(order) for order in orders])
    dask_worker.plugins[_PLUGIN].placed += [one for one in placed if isinstance(one, Placement)]
    return placed


async def report(placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
    """Say what has become of supervisors."""
    return await _aside(lambda: Local().poll(placements))


async def halt(placements: Sequence[Placement], kill: bool) -> None:  # noqa: FBT001 - arguments go over the wire in order
    """Stop supervisors, or kill them with all that they started."""
    await _aside(lambda: Local().stop(placements, kill=kill))


async def tails(placements: Sequence[Placement], lines: int) -> Mapping[str, str]:
    """Give the last lines of what supervisors wrote to stderr."""
    return await _aside(lambda: {placement.id: Local().tail(placement, lines) for placement in placements})


async def clear(placements: Sequence[Placement]) -> None:
    """Remove the folders with the output of supervisors."""
    await _aside(lambda: Local().clear(placements))


def _start(order: Order) -> Placement | str:
    own = order.devices and visible_devices() is None
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(order.devices)} if own else None
    local = Local(python=order.python, folder=order.folder, environment=environment)
    command = replace(order.command, arguments=(*order.command.arguments, "--supervised"), supervised=True)
    try:
        return local.start([command])[0]
    except BackendError as error:
        return str(error)


async def _aside(work: Callable[[], _T]) -> _T:
    """Work in a thread, so that the Dask worker goes on answering."""
    return await asyncio.get_running_loop().run_in_executor(None, work)
