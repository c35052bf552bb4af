"""Workers on this machine: one supervisor process for all workers of a start."""

import contextlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rush.backends import processes
from rush.backends.base import Backend
from rush.config import child_environment, node_name
from rush.errors import BackendError
from rush.model import Placement, PlacementStatus, WorkerCommand


class Local(Backend):
    """Starts workers on this machine, in a session of their own: they survive Ctrl-C and the end of their manager.

    Parameters
    ----------
    python
        The interpreter that runs them; by default this one.
    folder
        Where the folders with their output are made; by default the system's for temporary files.
    gpus_per_worker
        Devices that each worker gets of those that are visible here.
    environment
        Variables for the workers, besides those of this process.
    """

    name: ClassVar[str] = "local"

    def __init__(
        self,
        *,
        python: str | None = None,
        folder: str | None = None,
        gpus_per_worker: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.python = python or sys.executable
        self.folder = folder
        self.gpus_per_worker = gpus_per_worker
        self.environment = dict(environment or {})

    def shares(self, n_workers: int) -> Sequence[int]:
        """Give all workers to one supervisor."""
        return [n_workers]

    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        """Start one process for each command and hand it its secrets on standard input."""
        placed: list[Placement] = []
        for command in commands:
            try:
                placed.append(self._start(command))
            except OSError as error:
                raise BackendError(f"cannot start workers with {self.python!r}: {error}", placed) from error
        return placed

    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Look at the processes; those on other hosts, or of an earlier boot, are unknown."""
        return {placement.id: processes.status_of(placement) for placement in placements}

    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Send SIGTERM, by which a supervisor drains, or kill its whole tree."""
        for placement in placements:
            processes.stop(placement, kill=kill)

    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        """Give the command lines."""
        return "\n".join(shlex.join(command.argv(self.python)) for command in commands)

    def tail(self, placement: Placement, lines: int = 50) -> str:
        """Give the last lines of a supervisor's stderr."""
        return processes.tail_of(placement.stderr, lines) if placement.host == node_name() else ""

    def clear(self, placements: Sequence[Placement]) -> None:
        """Remove the folders with their output."""
        for placement in placements:
            folder = Path(placement.stderr or "").parent
            if folder.name.startswith("rush-") and (folder / "supervisor.err").is_file():
                shutil.rmtree(folder, ignore_errors=True)

    def _start(self, command: WorkerCommand) -> Placement:
        folder = Path(tempfile.mkdtemp(prefix=f"rush-{command.network_id[:32]}-", dir=self.folder))
        out, err = folder / "supervisor.out", folder / "supervisor.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*command.argv(self.python), "--folder", str(folder), *processes.module_paths()],
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=stdout,
                stderr=stderr,
                env=child_environment(self.environment),
                start_new_session=True,
            )
        processes.adopt(process)
        if process.stdin is None:
            raise BackendError("a process without a standard input cannot be handed its secrets")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(command.secret + b"\n")
        if not command.supervised:
            process.stdin.close()
        return processes.placement(self.name, command, process.pid, stdout=str(out), stderr=str(err))
