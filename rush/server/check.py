"""Whether workers of a backend reach a server: one small job tries, and says from where and what failed."""

import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence

from rush.backends import Backend
from rush.config import RedisConfig
from rush.errors import BackendError
from rush.model import Placement, PlacementState, WorkerCommand
from rush.server.probe import Probe

NAME = "check"
LAST_WORDS = 10.0
"""Seconds for which the report of a job that has ended may still be on its way through a network file system."""
_PAUSE = 0.2


def check_way(config: RedisConfig, backend: Backend, timeout: float, on_wait: Callable[[str], None]) -> Probe:
    """Have a backend try the way to a server, as its workers would go it.

    Parameters
    ----------
    timeout
        Seconds to wait for the job, which is then taken back.
    on_wait
        Called with what the job system says of the job, whenever it says something new.

    Raises
    ------
    BackendError
        The job could not be placed, or ended without a report; the message ends with the last lines of its stderr.
    TimeoutError
        It did not run in time.
    """
    small = backend.small()
    command = WorkerCommand(
        network_id=NAME,
        worker_ids=(f"{NAME}-{secrets.token_hex(4)}",),
        arguments=("-m", "rush.server.probe"),
        secret=dataclasses.replace(config, signing_key=None).to_secret(),
    )
    placed: Sequence[Placement] = ()
    try:
        placed = small.start([command])
        return _report(small, placed[0], timeout, on_wait)
    finally:
        small.stop(placed, kill=True)
        small.clear(placed)


def _report(backend: Backend, placement: Placement, timeout: float, on_wait: Callable[[str], None]) -> Probe:
    deadline, ended, said = time.monotonic() + timeout, None, ""
    while True:
        tail = backend.tail(placement)
        if (found := Probe.find(tail)) is not None:
            return found
        now = time.monotonic()
        status = backend.poll([placement])[placement.id]
        if status.state is PlacementState.ENDED:
            ended = ended or now
            if now - ended > LAST_WORDS:
                raise BackendError(f"the job ended without a report: {status.reason}\n{tail}".rstrip())
        elif status.reason and status.reason != said:
            said = status.reason
            on_wait(said)
        if now > deadline:
            raise TimeoutError(f"the job did not run within {timeout:g} s: {status.reason or status.state}")
        time.sleep(_PAUSE)
