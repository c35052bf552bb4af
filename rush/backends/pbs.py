"""Workers as jobs of PBS: OpenPBS and PBS Pro, Torque, and the commands of Torque that Slurm brings along."""

import getpass
import json
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rush.backends import jobs, pbs_scripts, pbs_states, slurm_states
from rush.backends.base import Backend
from rush.backends.jobs import Rhythm
from rush.backends.pbs_executor import submit_script
from rush.backends.pbs_states import Dialect
from rush.backends.processes import tail_of
from rush.errors import BackendError, ConfigError
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand
from rush.spelling import unknown_name

_INDEX = "${PBS_ARRAY_INDEX:-0}"
_GONE = PlacementStatus(PlacementState.ENDED, "PBS no longer knows the job")


class PBS(Backend):
    """Starts workers as PBS jobs; where the dialect has them, many are one job array.

    All settings are those of one job, which runs `workers_per_job` workers on one node.

    Parameters
    ----------
    queue, account
        As for qsub.
    time
        Time limit: minutes, or a text like ``02:00:00``. Workers stop in time before it.
    cpus
        Cores; by default one for each worker.
    memory
        Like ``4gb``.
    gpus
        Devices; by default what `gpus_per_worker` needs.
    constraint
        More of the resource request, added to it after a colon.
    extra
        Any other options of qsub, passed through untouched: by letter (True for one without a value), or as words.
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
        Seconds for which jobs are held back and tried again at submit limits.
    array_size
        The largest array that the site allows.
    dialect
        ``openpbs``, ``torque`` or ``wrapper``; by default the programs are asked.
    """

    name: ClassVar[str] = "pbs"

    def __init__(
        self,
        *,
        queue: str | None = None,
        account: str | None = None,
        time: str | int | None = None,
        cpus: int | None = None,
        memory: str | None = None,
        gpus: int | str | None = None,
        constraint: str | None = None,
        extra: Mapping[str, Any] | Sequence[str] = (),
        setup: Sequence[str] = (),
        teardown: Sequence[str] = (),
        python: str | None = None,
        workers_per_job: int = 1,
        gpus_per_worker: int = 0,
        folder: str | None = None,
        template: str = "pbs",
        submit_timeout: float = 60.0,
        array_size: int = 1000,
        dialect: str | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in {"self", "__class__"}}
        jobs.seconds_of(time)
        if workers_per_job < 1:
            raise ValueError(f"workers_per_job must be 1 or more, got {workers_per_job!r}")
        known = [one.value for one in Dialect]
        if dialect is not None and dialect not in known:
            raise ConfigError(unknown_name("dialect of PBS", dialect, known))
        self.workers_per_job, self.gpus_per_worker = workers_per_job, gpus_per_worker
        self.python, self.folder, self.template = python, folder, template
        self.setup, self.teardown = jobs.lines(setup, "setup"), jobs.lines(teardown, "teardown")
        self.submit_timeout, self.array_size = submit_timeout, array_size
        devices = gpus if gpus is not None else (gpus_per_worker * workers_per_job or None)
        self._wanted = pbs_scripts.Wanted(
            "rush", queue, account, time, cpus or workers_per_job, memory, devices, constraint, extra
        )
        self._given = jobs.stated(PBS, given)
        self._server = _Server(None if dialect is None else Dialect(dialect))

    def shares(self, n_workers: int) -> Sequence[int]:
        """Fill jobs with `workers_per_job` workers each."""
        return jobs.shares(n_workers, self.workers_per_job)

    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        """Submit the commands, as job arrays on OpenPBS; at submit limits they are held back and tried again."""
        if not commands:
            return []
        dialect = self._server.dialect()
        folder = jobs.new_folder(self.folder, commands[0].network_id)
        jobs.write_commands(commands, jobs.python_command(self.python), folder)

        def submit(first: int, count: int) -> list[Placement]:
            job = self._submit(commands[0].network_id, folder, first, count)
            ids = [job] if count == 1 else [job.replace("[]", f"[{n}]", 1) for n in range(count)]
            return [self._placed(commands[first + n], folder, job_id, first + n) for n, job_id in enumerate(ids)]

        largest = self.array_size if dialect is Dialect.OPENPBS else 1
        try:
            return jobs.submit_in_parts(len(commands), largest, submit, self.submit_timeout)
        finally:
            self._server.hurry()

    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Ask PBS for all of them, and not too often."""
        return self._server.of(placements)

    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Delete those that wait; signal those that run, or kill them. Where there is no qsig, both are deleted."""
        ids = [placement.job_id for placement in placements if placement.job_id and self._server.sees(placement)]
        left = ids
        if shutil.which("qsig") is not None:
            refused = [job for job in ids if jobs.run(["qsig", "-s", "SIGKILL" if kill else "SIGTERM", job]).returncode]
            left = ids if kill else refused
        for first in range(0, len(left), 100):
            _qdel(left[first : first + 100])
        self._server.hurry()

    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        """Give the job script, how it would be submitted, and what each job of it would run."""
        folder = Path("/FOLDER")
        dialect = self._dialect_or_openpbs()
        python = jobs.python_command(self.python)
        network = commands[0].network_id if commands else "NETWORK"
        count = len(commands) if dialect is Dialect.OPENPBS else 1
        options = self._options(folder, 0, count, dialect)
        words = pbs_scripts.words_of(self._wanted)
        submitted = pbs_scripts.command_line(options, dialect, words, "/FOLDER/job-0.sh")
        runs = [f"# worker-{n}.sh: {jobs.worker_line(c, python, folder, n)}" for n, c in enumerate(commands)]
        return "\n".join([f"# {shlex.join(submitted)}", *runs, "", self._script(network, folder, 0, options)])

    def tail(self, placement: Placement, lines: int = 50) -> str:
        """Give the last lines of a job's stderr."""
        return tail_of(placement.stderr, lines)

    def hand_script(self, network_id: str, command: str) -> str:
        """Give a job script that runs one command, to be edited and submitted by hand."""
        run = jobs.command_block(command, self.teardown)
        options = pbs_scripts.options(self._wanted, self._dialect_or_openpbs(), "")
        return pbs_scripts.script(
            self.template, jobs.title(network_id), options, self._wanted.time, "", self.setup, run
        )

    def _dialect_or_openpbs(self) -> Dialect:
        try:
            return self._server.dialect()
        except BackendError:
            return Dialect.OPENPBS

    def _options(self, folder: Path, first: int, count: int, dialect: Dialect) -> list[list[str]]:
        log = f"{folder}/" if count > 1 else f"{folder}/job-{first}.log"
        return pbs_scripts.options(self._wanted, dialect, log, count)

    def _script(self, network_id: str, folder: Path, first: int, options: Sequence[Sequence[str]]) -> str:
        path = f'{shlex.quote(str(folder))}/worker-"$(({first} + {_INDEX}))"'
        run = jobs.command_block(f"/bin/sh {path}.sh", self.teardown)
        output = f"exec >{path}.out 2>{path}.err"
        return pbs_scripts.script(
            self.template, jobs.title(network_id), options, self._wanted.time, output, self.setup, run
        )  # fmt: skip

    def _submit(self, network_id: str, folder: Path, first: int, count: int) -> str:
        dialect = self._server.dialect()
        options = self._options(folder, first, count, dialect)
        path = folder / f"job-{first}.sh"
        path.write_text(self._script(network_id, folder, first, options))
        return submit_script(options, dialect, pbs_scripts.words_of(self._wanted), path)

    def _placed(self, command: WorkerCommand, folder: Path, job_id: str, number: int) -> Placement:
        return Placement(
            backend=self.name,
            id=secrets.token_hex(8),
            worker_ids=command.worker_ids,
            created=time.time(),
            job_id=job_id,
            stdout=str(folder / f"worker-{number}.out"),
            stderr=str(folder / f"worker-{number}.err"),
            details={
                "server": self._server.name(job_id),
                "user": getpass.getuser(),
                "folder": str(folder),
                "options": json.dumps(self._given),
            },
        )


class _Server:
    """The PBS here: its dialect, and what it last said of jobs."""

    def __init__(self, dialect: Dialect | None) -> None:
        self._dialect = dialect
        self._cluster: str | None = None
        self._rhythm = Rhythm()
        self._rows: dict[str, pbs_states.JobRow] = {}
        self._asked: set[str] = set()
        self._over: dict[str, PlacementStatus] = {}
        self._complaint = ""

    def dialect(self) -> Dialect:
        """Give the dialect; the programs are asked once."""
        if self._dialect is None:
            self._dialect = pbs_states.find_dialect()
        if self._dialect is None:
            raise BackendError("qsub and qstat are not installed here, or not on PATH; run this on a login node")
        return self._dialect

    def name(self, job_id: str) -> str:
        """Give the name of a job's server: it stands in the id, except where Slurm's cluster makes them."""
        if "." in job_id:
            return job_id.partition(".")[2]
        if self._cluster is None:
            found = shutil.which("scontrol") and jobs.run(["scontrol", "show", "config"]).stdout
            self._cluster = slurm_states.read_config(found or "").get("ClusterName", "")
        return self._cluster

    def hurry(self) -> None:
        """Look again at the next question."""
        self._rhythm.hurry()

    def sees(self, placement: Placement) -> bool:
        """Say whether a job can be asked about here: its id names its server, or it belongs to this cluster."""
        job = placement.job_id or ""
        return "." in job or placement.details.get("server") == self.name(job)

    def of(self, placements: Sequence[Placement]) -> dict[str, PlacementStatus]:
        """Give the states of placements; those that cannot be asked about here are unknown."""
        try:
            mine = {p.id: p for p in placements if p.job_id and self.sees(p)}
            ids = {p.job_id for p in mine.values() if p.job_id and p.id not in self._over}
            if ids and (self._rhythm.is_due() or (not self._complaint and not ids <= self._asked)):
                self._rhythm.asked()
                self._rows = pbs_states.ask(ids, self.dialect())
                self._asked, self._complaint = ids, ""
        except BackendError as error:
            self._complaint, mine = str(error), {}
        return {p.id: self._status(p, visible=p.id in mine) for p in placements}

    def _status(self, placement: Placement, *, visible: bool) -> PlacementStatus:
        if placement.id in self._over:
            return self._over[placement.id]
        if self._complaint or not visible:
            why = self._complaint or f"its job belongs to cluster {placement.details.get('server')!r}"
            return PlacementStatus(PlacementState.UNKNOWN, why)
        row = self._rows.get(placement.job_id or "")
        status = _GONE if row is None else pbs_states.status_of(row)
        if status.state is PlacementState.ENDED:
            self._over[placement.id] = status
        return status


def _qdel(ids: Sequence[str]) -> None:
    if not ids:
        return
    answer = jobs.run(["qdel", *ids])
    harmless = ("unknown job", "has finished", "invalid job id", "already completing", "request invalid for state")
    complaints = [
        line
        for line in answer.stderr.splitlines()
        if line.strip() and not any(sign in line.lower() for sign in harmless)
    ]
    if answer.returncode and complaints:
        raise BackendError(f"qdel failed: {' '.join(complaints)}")
