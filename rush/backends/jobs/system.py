"""Workers as jobs: what all job systems have in common."""

import abc
import contextlib
import dataclasses
import getpass
import json
import secrets
import shlex
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rush.backends import hosts
from rush.backends.base import Backend
from rush.backends.jobs import programs as job_programs
from rush.backends.jobs import scripts as job_scripts
from rush.backends.processes import tail_of
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand


@dataclass(kw_only=True, eq=False)
class JobSystem(Backend):
    """Starts workers as jobs. All settings are those of one job, which runs `workers_per_job` workers on one node.

    Parameters
    ----------
    account, constraint
        As the job system knows them.
    time
        Time limit: minutes, or a text like ``02:00:00``. Workers stop in time before it.
    cpus
        Cores; by default one for each worker.
    memory
        Like ``4G``.
    gpus
        Devices; by default what `gpus_per_worker` needs.
    extra
        Any other options for submitting, passed through untouched: by name (True for one without a value), or as words.
    setup, teardown
        Shell lines before and after the workers.
    python
        Shell words that run Python on the nodes; by default this interpreter's path.
    workers_per_job, gpus_per_worker
        Workers in each job, and the devices each of them has for itself.
    folder
        A folder that the nodes share, for scripts and output; by default in the user's home.
    template
        Name or path of the template of the job script.
    submit_timeout
        Seconds for which a start waits at submit limits; what is held back then, is submitted as soon as it can be.
    resubmit, max_resubmits
        Whether a worker that its job's time limit, a preemption or a failed node has ended is submitted again while
        its network has work, and how often at most.
    loopback
        Whether workers reach a server that listens on this host's loopback only, say by a tunnel that `setup` opens;
        by default they do where all nodes are this very host.
    """

    account: str | None = None
    time: str | int | None = None
    cpus: int | None = None
    memory: str | None = None
    gpus: int | str | None = None
    constraint: str | None = None
    extra: Mapping[str, Any] | Sequence[str] = ()
    setup: Sequence[str] = ()
    teardown: Sequence[str] = ()
    python: str | None = None
    workers_per_job: int = 1
    gpus_per_worker: int = 0
    folder: str | None = None
    template: str = ""
    submit_timeout: float = 10.0
    resubmit: bool = False
    max_resubmits: int = 10
    loopback: bool | None = None

    def __post_init__(self) -> None:
        """Check what was given.

        Raises
        ------
        ValueError
            The time is no time, or a number is out of range.
        TypeError
            `setup` or `teardown` is one text, not a list of lines.
        """
        job_scripts.seconds_of(self.time)
        for name, least in (("workers_per_job", 1), ("gpus_per_worker", 0), ("max_resubmits", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)!r}")
        for name in ("setup", "teardown"):
            job_scripts.check_lines(getattr(self, name), name)

    def shares(self, n_workers: int) -> Sequence[int]:
        """Fill jobs with `workers_per_job` workers each; the last one takes what is left."""
        full, rest = divmod(n_workers, self.workers_per_job)
        return [self.workers_per_job] * full + ([rest] if rest else [])

    def reaches_loopback(self) -> bool:
        """Ask the job system where its nodes are, unless `loopback` says it."""
        return hosts.are_all_here(self._nodes()) if self.loopback is None else self.loopback

    def small(self) -> Backend:
        """Ask for one core and five minutes."""
        return dataclasses.replace(self, workers_per_job=1, cpus=1, memory=None, time=5)

    def with_words(self, words: Sequence[str]) -> Backend:
        """Add words to `extra`."""
        return dataclasses.replace(self, extra=[*self._extra_words(), *words]) if words else self

    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        """Submit the commands, many as job arrays; at submit limits they are held back and tried again."""
        if not commands:
            return []
        largest = self._largest_array()
        network = commands[0].network_id
        folder = job_scripts.new_folder(self.folder, network)
        python = job_scripts.python_command(self.python)
        for number, command in enumerate(commands):
            job_scripts.write_command(command, python, folder, number, self._secrets(folder, number))

        def submit(first: int, count: int) -> list[Placement]:
            ids = self._submit(network, folder, first, count)
            return [self._placed(commands[first + n], folder, job, first + n) for n, job in enumerate(ids)]

        try:
            return job_programs.submit_in_parts(len(commands), largest, submit, self.submit_timeout)
        finally:
            self._look_again()

    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        """Give the job script, how it would be submitted, and what each job of it would run."""
        folder = Path("/FOLDER")
        network = commands[0].network_id if commands else "NETWORK"
        submitted, script = self._preview(network, folder, max(1, len(commands)))
        python = job_scripts.python_command(self.python)
        lines = [job_scripts.worker_line(c, python, folder, self._secrets(folder, n)) for n, c in enumerate(commands)]
        return "\n".join([f"# {submitted}", *(f"# worker-{n}.sh: {line}" for n, line in enumerate(lines)), "", script])

    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Ask the job system for all of them, and not too often. Those that have ended need their secrets no more."""
        found = self._poll(placements)
        _forget([p for p in placements if p.id in found and found[p.id].state is PlacementState.ENDED])
        return found

    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Cancel those that wait; signal those that run, or kill them."""
        jobs = [placement for placement in placements if placement.job_id and self._sees(placement)]
        self._stop(jobs, kill=kill)
        self._look_again()
        _forget(jobs)

    def tail(self, placement: Placement, lines: int = 50) -> str:
        """Give the last lines of a job's stderr."""
        return tail_of(placement.stderr, lines)

    def hand_script(self, network_id: str, arguments: Sequence[str]) -> str:
        """Give a job script that runs one command, to be edited and submitted by hand."""
        command = f"{job_scripts.python_command(self.python)} {shlex.join(arguments)}"
        return self._hand_script(network_id, command)

    def clear(self, placements: Sequence[Placement]) -> None:
        """Remove the folders of jobs."""
        job_scripts.remove_folders({placement.details.get("folder", "") for placement in placements})

    @abc.abstractmethod
    def _poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Say what has become of jobs."""

    @abc.abstractmethod
    def _stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Cancel jobs that wait; signal those that run, or kill them."""

    @abc.abstractmethod
    def _sees(self, placement: Placement) -> bool:
        """Say whether a placement's job belongs to this job system."""

    @abc.abstractmethod
    def _may_start_again(self) -> bool:
        """Say whether the job system may start a job of its own accord a second time."""

    @abc.abstractmethod
    def _hand_script(self, network_id: str, command: str) -> str:
        """Fill in the template for a job without a folder that runs one command."""

    @abc.abstractmethod
    def _extra_words(self) -> list[str]:
        """Give `extra` as words, however it was given."""

    @abc.abstractmethod
    def _nodes(self) -> set[str]:
        """Give the names or addresses of the hosts of the nodes; none where the job system does not say."""

    @abc.abstractmethod
    def _largest_array(self) -> int:
        """Say how many jobs one submission may be."""

    @abc.abstractmethod
    def _submit(self, network_id: str, folder: Path, first: int, count: int) -> Sequence[str]:
        """Submit the commands from `first` on; give the id of each one's job."""

    @abc.abstractmethod
    def _preview(self, network_id: str, folder: Path, count: int) -> tuple[str, str]:
        """Give the command line that would submit, and the job script."""

    @abc.abstractmethod
    def _output(self, folder: Path, job_id: str, number: int) -> tuple[Path, Path]:
        """Give the files of a job's stdout and stderr."""

    @abc.abstractmethod
    def _details(self, job_id: str) -> Mapping[str, str]:
        """Give what else it takes to find a job again."""

    @abc.abstractmethod
    def _look_again(self) -> None:
        """Something was done: ask the job system at the next question."""

    @property
    def _given(self) -> dict[str, Any]:
        """The options by which another process can submit the same again: those that differ from their defaults."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        changed = {name: value for name, value in given.items() if value != defaults[name]}
        return changed | {"python": job_scripts.python_command(self.python)}

    def _secrets(self, folder: Path, number: int) -> Path:
        return job_scripts.secrets_file(folder, number, again=self._may_start_again())

    def continuation(self) -> Mapping[str, str]:
        """Give what a placement says of how its jobs are submitted again, or later."""
        again = {"resubmits": str(self.max_resubmits)} if self.resubmit and self.max_resubmits else {}
        return {"options": json.dumps(self._given, default=str), **again}

    @property
    def _devices(self) -> int | str | None:
        return self.gpus if self.gpus is not None else (self.gpus_per_worker * self.workers_per_job or None)

    def _placed(self, command: WorkerCommand, folder: Path, job_id: str, number: int) -> Placement:
        stdout, stderr = self._output(folder, job_id, number)
        return Placement(
            backend=self.name,
            id=secrets.token_hex(8),
            worker_ids=command.worker_ids,
            created=clock.time(),
            job_id=job_id,
            stdout=str(stdout),
            stderr=str(stderr),
            details={
                "user": getpass.getuser(),
                "folder": str(folder),
                "secrets": str(self._secrets(folder, number)),
                **self.continuation(),
                **self._details(job_id),
            },
        )


def _forget(placements: Sequence[Placement]) -> None:
    """Remove the secrets of jobs that will not read them any more."""
    for placement in placements:
        with contextlib.suppress(OSError):
            Path(placement.details.get("secrets", "")).unlink(missing_ok=True)
