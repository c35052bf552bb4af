"""Connections to Dask schedulers, and questions to their workers, in which one that is stuck holds up no other."""

import asyncio
import atexit
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client

from rush.errors import BackendError

PATIENCE = 10.0
"""Seconds for which a scheduler or a worker may take to answer."""
_CONNECT = 5.0
_PAUSE = 15.0

Call = tuple[Callable[..., Any], Sequence[Any]]

_clients: dict[str, Client] = {}
"""Connections that were made here, by the scheduler's address: kept until this process ends."""
_refused: dict[str, tuple[float, str]] = {}


@dataclass(frozen=True)
class Cluster:
    """A Dask cluster as its scheduler described it: its address and id, and its workers by their addresses."""

    address: str
    id: str
    workers: Mapping[str, Mapping[str, Any]]


def connect(target: Any, what: str, **options: Any) -> Client:
    """Connect to a scheduler's address, or to a cluster.

    Raises
    ------
    BackendError
        It does not answer.
    """
    try:
        client = Client(target, set_as_default=False, timeout=_CONNECT, **options)
    except (OSError, ValueError) as error:
        raise BackendError(f"cannot connect to {what}: {error}") from error
    _clients[look(client).address] = client
    return client


def client_at(address: str) -> Client:
    """Give the connection to a scheduler; one that refused it is not asked again for a while.

    Raises
    ------
    BackendError
        It does not answer.
    """
    client = _clients.get(address)
    if client is not None and client.status in {"running", "connecting"}:
        return client
    until, complaint = _refused.get(address, (0.0, ""))
    if time.monotonic() < until:
        raise BackendError(complaint)
    try:
        return connect(address, f"the Dask scheduler at {address}")
    except BackendError as error:
        _refused[address] = (time.monotonic() + _PAUSE, str(error))
        raise


def remember(client: Client) -> Cluster:
    """Keep a connection of the user's for later questions to its scheduler; give the cluster."""
    cluster = look(client)
    _clients[cluster.address] = client
    return cluster


def forget(client: Client) -> None:
    """Close a connection that was made here."""
    for address in [address for address, known in _clients.items() if known is client]:
        del _clients[address]
    client.close()


def look(client: Client) -> Cluster:
    """Ask a scheduler about its cluster.

    Raises
    ------
    BackendError
        It does not answer.
    """

    async def identity() -> Any:
        if client.scheduler is None:
            raise OSError("the connection is closed")
        return await asyncio.wait_for(client.scheduler.identity(), PATIENCE)

    found = _in_loop(client, identity)
    return Cluster(found["address"], found["id"], found["workers"])


def ask(client: Client, calls: Mapping[str, Call], patience: float = PATIENCE) -> dict[str, Any]:
    """Call functions in Dask workers, outside of Dask's tasks; give answers by address, or the exceptions.

    Raises
    ------
    BackendError
        The scheduler does not answer.
    """

    async def one(address: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
        call = client.run(function, *arguments, workers=[address], on_error="return")
        try:
            return (await asyncio.wait_for(call, patience))[address]
        except TimeoutError:
            return BackendError(f"it does not answer within {patience:g} s")
        except OSError as error:
            return error

    async def everyone() -> list[Any]:
        return await asyncio.gather(*(one(address, *call) for address, call in calls.items()))

    return dict(zip(calls, _in_loop(client, everyone), strict=True))


def _in_loop(client: Client, work: Callable[[], Any]) -> Any:
    """Run a coroutine in a connection's own event loop."""
    try:
        return client.sync(work)
    except (OSError, RuntimeError) as error:  # the latter where its event loop is closed
        raise BackendError(f"the Dask scheduler does not answer: {error!r}") from error


@atexit.register
def _close_all() -> None:
    for client in _clients.values():
        with contextlib.suppress(Exception):
            client.close(timeout=2)
