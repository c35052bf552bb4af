"""Running the programs of a job system: in a clean environment, with patience, not too often, in parts."""

import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

from rush.config import job_environment
from rush.errors import BackendError, LimitReached
from rush.model import Placement

PATIENCE = 60.0
"""Seconds for which a program of a job system may take to answer."""
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0

Submit = Callable[[int, int], Sequence[Placement]]


def run(argv: Sequence[str], patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
    """Run a program of the job system, in an environment without leftovers of the job that this may be.

    Raises
    ------
    BackendError
        It is not there, or does not answer.
    """
    try:
        return subprocess.run(
            argv, env=job_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=patience, check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BackendError(f"{argv[0]} is not installed here, or not on PATH; run this on a login node") from error
    except subprocess.TimeoutExpired as error:
        raise BackendError(f"{shlex.join(argv[:3])} did not answer within {patience:g} s") from error


def submit_in_parts(count: int, largest: int, submit: Submit, timeout: float) -> list[Placement]:
    """Submit `count` commands in parts of at most `largest`, held back and halved where the job system has had enough.

    Raises
    ------
    LimitReached
        The job system has had enough for `timeout` seconds; what was placed stands in its `placements`.
    BackendError
        One part was refused for good; the same holds for it.
    """
    placed: list[Placement] = []
    size, pause, first_refusal = largest, _FIRST_PAUSE, 0.0
    while len(placed) < count:
        try:
            placed += submit(len(placed), min(size, count - len(placed)))
        except LimitReached as error:
            now = time.monotonic()
            first_refusal = first_refusal or now
            if size > 1:
                size = max(1, min(size, count - len(placed)) // 2)
                continue
            if now - first_refusal + pause > timeout:
                raise LimitReached(f"{len(placed)} of {count} jobs were placed: {error}", placed) from error
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        except BackendError as error:
            raise BackendError(f"{len(placed)} of {count} jobs were placed: {error}", placed) from error
        else:
            pause, first_refusal = _FIRST_PAUSE, 0.0
    return placed


class Rhythm:
    """How often a job system may be asked: at once after something was done, then ever more rarely."""

    def __init__(self, shortest: float = 1.0, longest: float = 30.0) -> None:
        self._shortest, self._longest = shortest, longest
        self._pause = 0.0
        self._next = 0.0

    def is_due(self) -> bool:
        """Say whether it may be asked now."""
        return time.monotonic() >= self._next

    def asked(self) -> None:
        """Note that it was asked, which makes the next pause longer."""
        self._pause = min(self._longest, max(self._shortest, self._pause * 1.5))
        self._next = time.monotonic() + self._pause

    def hurry(self) -> None:
        """Something was done: look again soon."""
        self._pause, self._next = 0.0, 0.0
