"""The contract of launch backends: place finished command lines, watch them, stop them. They know nothing of tasks."""

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

from rush.errors import BackendError
from rush.model import Placement, PlacementStatus, WorkerCommand


class Backend(abc.ABC):
    """Puts supervisors somewhere.

    A backend is handed command lines and places them; it never talks to the store. What it returns is plain data, by
    which another process can later watch, stop and read the logs of what this one started.
    """

    name: ClassVar[str]
    gpus_per_worker: int = 0

    def shares(self, n_workers: int) -> Sequence[int]:
        """Say how many workers each supervisor runs; the sum is `n_workers`. By default one each."""
        return [1] * n_workers

    def default_workers(self) -> int:
        """Say how many workers to start where nobody says; by default one."""
        return 1

    def reaches_loopback(self) -> bool:
        """Say whether its workers reach a server that listens on this host's loopback only.

        True unless a backend says otherwise; one that places workers on other hosts does.
        """
        return True

    def tie(self) -> str:
        """Say what ends with the process that starts its workers, and them with it; '' for nothing."""
        return ""

    def small(self) -> "Backend":
        """Give one that asks for as little as it can in the same place, for one short command; by default itself."""
        return self

    def with_words(self, words: Sequence[str]) -> "Backend":
        """Give a backend that submits with these options of its job system as well, untouched.

        Raises
        ------
        BackendError
            It submits no jobs: the default.
        """
        if words:
            raise BackendError(
                f"backend {self.name!r} submits no jobs, so it takes no options for them: {' '.join(words)}"
            )
        return self

    def check(self) -> Mapping[str, str]:
        """Look whether it can be used from here, and give what there is to know; by default nothing is looked at.

        Raises
        ------
        BackendError
            It cannot be used; the message says why.
        """
        return {}

    def continuation(self) -> Mapping[str, str]:
        """Say in a placement's `details` how its commands can be submitted again, by default not at all.

        ``options`` are this object's arguments as JSON, ``resubmits`` how often its workers may be submitted again.
        """
        return {}

    @abc.abstractmethod
    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        """Place the commands.

        Raises
        ------
        BackendError
            Some could not be placed; the message says which and why. The others run, and stand in the error's
            `placements`.
        """

    @abc.abstractmethod
    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Say, by placement id, what has become of them. What cannot be seen from here is unknown, never dead."""

    @abc.abstractmethod
    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Ask the supervisors to drain (SIGTERM), or kill them with all that they started."""

    @abc.abstractmethod
    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        """Show what would be run: the command line or the job script. No secret stands in it."""

    def hand_script(self, network_id: str, arguments: Sequence[str]) -> str:  # noqa: ARG002 - job systems use them
        """Give a job script that runs the interpreter with these arguments, to be edited and submitted by hand.

        Raises
        ------
        BackendError
            It submits no jobs: the default.
        """
        raise BackendError(f"backend {self.name!r} submits no jobs, so it has no job script; 'worker' is for any host")

    @abc.abstractmethod
    def tail(self, placement: Placement, lines: int = 50) -> str:
        """Give the last lines of a supervisor's stderr; '' where there are none."""

    def clear(self, placements: Sequence[Placement]) -> None:  # noqa: B027 - most backends leave nothing to remove
        """Remove the files that were made for placements that have ended; by default there are none."""
