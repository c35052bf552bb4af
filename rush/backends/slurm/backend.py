"""Workers as jobs of Slurm, submitted through submitit."""

import getpass
import shlex
import shutil
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from submitit.core.utils import FailedJobError, FailedSubmissionError, JobPaths
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from rush.backends import hosts
from rush.backends.jobs import programs as job_programs
from rush.backends.jobs import scripts as job_scripts
from rush.backends.jobs.programs import Rhythm
from rush.backends.jobs.system import JobSystem
from rush.backends.slurm import states as slurm_states
from rush.config import job_leftovers
from rush.errors import BackendError, LimitReached
from rush.model import Placement, PlacementState, PlacementStatus
from rush.spelling import unknown_name
from rush.template import load_template, render

_INDEX = "${SLURM_ARRAY_TASK_ID:-0}"
_AN_HOUR = 3600.0
_GONE = PlacementStatus(PlacementState.ENDED, "Slurm no longer knows the job")


@dataclass(kw_only=True, eq=False)
class Slurm(JobSystem):
    """Starts workers as Slurm jobs: many are one job array, split where the site limits the size of arrays.

    Its other options are those of `JobSystem`.

    Parameters
    ----------
    partition, qos
        As for sbatch.
    srun
        Whether the workers run in a step of their own.
    """

    name: ClassVar[str] = "slurm"

    template: str = "slurm"
    partition: str | None = None
    qos: str | None = None
    srun: bool = False

    def __post_init__(self) -> None:
        """Check what was given."""
        super().__post_init__()
        self._states = _States()

    def _poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        return self._states.of(placements)

    def _sees(self, placement: Placement) -> bool:
        return self._states.sees(placement)

    def _may_start_again(self) -> bool:
        return any(word.partition("=")[0] == "--requeue" for word in self._extra_words())

    def _stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        for part in _parts([placement.job_id for placement in placements], 200):
            _scancel(*(["--signal=KILL"] if kill else ["--state=PENDING"]), *part)
        for reach in () if kill else {placement.details.get("reach", "") for placement in placements}:
            reached = [placement.job_id for placement in placements if placement.details.get("reach", "") == reach]
            for part in _parts(reached, 200):
                _scancel("--state=RUNNING", "--signal=TERM", *reach.split(), *part)

    def options(self, network_id: str, folder: Path, count: int = 1) -> str:
        """Give the lines of the job script by which sbatch learns what is asked for."""
        extra: dict[str, Any] = {"map_count": count, "array_parallelism": count} if count > 1 else {}
        text = _make_sbatch_string("", folder, job_name=f"rush-{network_id}"[:64], **self._parameters, **extra)
        kept = [line for line in text.splitlines() if line.startswith("#SBATCH") and "--signal=USR2@90" not in line]
        return "\n".join(kept)

    def _hand_script(self, network_id: str, command: str) -> str:
        options = self.options(network_id, Path("/FOLDER")).splitlines()
        kept = [line for line in options if "/FOLDER" not in line]
        words = [f"#SBATCH {shlex.join(self._words)}"] if self._words else []
        return self._filled(network_id, "\n".join(kept + words), command)

    @property
    def _parameters(self) -> dict[str, Any]:
        named = self.extra if isinstance(self.extra, Mapping) else {}
        return {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.time,
            "cpus_per_task": self.cpus or self.workers_per_job,
            "mem": self.memory,
            "gpus_per_node": self._devices,
            "constraint": self.constraint,
            "ntasks_per_node": 1,
            "wckey": None,
            "additional_parameters": _additional(named),
        }

    @property
    def _words(self) -> list[str]:
        return [] if isinstance(self.extra, Mapping) else [str(word) for word in self.extra]

    def _extra_words(self) -> list[str]:
        named = _stated(self.extra) if isinstance(self.extra, Mapping) else {}
        spelled = {f"--{name.replace('_', '-')}": value for name, value in named.items()}
        return [name if value is True else f"{name}={value}" for name, value in spelled.items()] or self._words

    def check(self) -> Mapping[str, str]:
        """Ask Slurm for its name and partitions, and fill in the job script."""
        site = self._states.site()
        self.preview([])
        partitions = slurm_states.read_partitions(job_programs.run(slurm_states.PARTITIONS).stdout)
        for name in (self.partition or "").split(",") if self.partition else ():
            if name not in partitions:
                raise BackendError(unknown_name("partition", name, partitions))
        return {
            "cluster": site.cluster,
            "partitions": ", ".join(f"{name} ({said})" for name, said in partitions.items()),
            "largest array": str(site.largest_array),
        }

    def _nodes(self) -> set[str]:
        return hosts.slurm_nodes(self.partition)

    def _largest_array(self) -> int:
        return self._states.site().largest_array

    def _preview(self, network_id: str, folder: Path, count: int) -> tuple[str, str]:
        submitted = shlex.join(["sbatch", *self._words, f"{folder}/job.sh"])
        return submitted, self._script(network_id, folder, 0, count)

    def _script(self, network_id: str, folder: Path, first: int, count: int) -> str:
        number = f"$(({first} + {_INDEX}))" if first else _INDEX
        step = "srun --ntasks=1 --unbuffered " if self.srun else ""
        run = f'{step}/bin/sh {shlex.quote(str(folder))}/worker-"{number}".sh'
        return self._filled(network_id, self.options(network_id, folder, count), run)

    def _filled(self, network_id: str, options: str, command: str) -> str:
        values = {
            "title": job_scripts.title(network_id),
            "options": options,
            "setup": "\n".join(self.setup),
            "command": job_scripts.command_block(command, self.teardown),
        }
        return render(load_template(self.template), values)

    def _submit(self, network_id: str, folder: Path, first: int, count: int) -> Sequence[str]:
        executor = _Executor(folder, self._script(network_id, folder, first, count), self._words)
        try:
            job = executor.submit_script()
        except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
            text = executor.complaint() or str(error)
            said = [line.strip() for line in text.splitlines() if "error" in line.lower()]
            kind = LimitReached if slurm_states.is_limit(text) else BackendError
            raise kind(f"sbatch refused the job: {' '.join(said) or text}") from error
        return [job] if count == 1 else [f"{job}_{n}" for n in range(count)]

    def _output(self, folder: Path, job_id: str, number: int) -> tuple[Path, Path]:  # noqa: ARG002 - named by the job
        paths = JobPaths(folder, job_id, 0)
        return paths.stdout, paths.stderr

    def _details(self, job_id: str) -> Mapping[str, str]:  # noqa: ARG002 - all jobs are of one cluster
        reach = "" if self.srun else "--full" if self.teardown else "--batch"
        return {"cluster": self._states.site().cluster, "reach": reach}

    def _look_again(self) -> None:
        self._states.hurry()


class _Executor(SlurmExecutor):
    """submitit's executor, for a job script that is already written."""

    def __init__(self, folder: Path, script: str, words: Sequence[str]) -> None:
        super().__init__(folder)
        self._script, self._words, self._stderr = script, words, folder / "sbatch.err"

    def submit_script(self) -> str:
        """Submit the script; give the job's id."""
        return str(self._submit_command("").job_id)

    def complaint(self) -> str:
        """Give what sbatch wrote to stderr."""
        return self._stderr.read_text() if self._stderr.exists() else ""

    def _make_submission_file_text(self, command: str, uid: str) -> str:  # noqa: ARG002 - submitit's signature
        return self._script

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        forget = [word for name in job_leftovers() for word in ("-u", name)]
        words = ["env", *forget, "sbatch", *self._words, str(submission_file_path)]
        # submitit would print what sbatch complains of, each time that a limit holds jobs back.
        return ["sh", "-c", 'exec "$@" 2>"$0"', str(self._stderr), *words]


class _Site:
    """What a cluster says of itself."""

    def __init__(self) -> None:
        found = job_programs.run(["scontrol", "show", "config"])
        if found.returncode:
            raise BackendError(f"Slurm does not answer: {found.stderr.strip()}")
        config = slurm_states.read_config(found.stdout)
        self.cluster = config.get("ClusterName", "")
        size = config.get("MaxArraySize", "")
        self.largest_array = max(1, int(size)) if size.isdigit() else 1000


class _States:
    """The states of this user's jobs, asked for in one call for all, ever more rarely while nothing happens."""

    def __init__(self) -> None:
        self._rhythm = Rhythm()
        self._site: _Site | None = None
        self._queued: dict[str, slurm_states.JobRow] = {}
        self._over: dict[str, PlacementStatus] = {}
        self._accounting_again = 0.0
        self._complaint = ""

    def site(self) -> _Site:
        """Give what the cluster said when it was first asked."""
        if self._site is None:
            self._site = _Site()
        return self._site

    def hurry(self) -> None:
        """Look again at the next question."""
        self._rhythm.hurry()

    def sees(self, placement: Placement) -> bool:
        """Say whether a placement's job belongs to this cluster."""
        return placement.details.get("cluster") == self.site().cluster

    def of(self, placements: Sequence[Placement]) -> dict[str, PlacementStatus]:
        """Give the states of placements; those of other clusters and users are unknown."""
        try:
            mine = [p for p in placements if self.sees(p) and p.details.get("user") == getpass.getuser()]
            new = any(p.job_id not in self._queued and p.id not in self._over for p in mine)
            if self._rhythm.is_due() or (new and not self._complaint):
                self._ask(mine)
        except BackendError as error:
            self._complaint = str(error)
            self._rhythm.asked()
            mine = []
        visible = {p.id for p in mine}
        found = {}
        for placement in placements:
            if placement.id in self._over:
                found[placement.id] = self._over[placement.id]
            elif placement.id not in visible or self._complaint:
                why = (
                    self._complaint
                    or f"its job belongs to cluster {placement.details.get('cluster')!r}, or to another user"
                )
                found[placement.id] = PlacementStatus(PlacementState.UNKNOWN, why)
            else:
                row = self._queued.get(placement.job_id or "")
                found[placement.id] = _GONE if row is None else slurm_states.status_of(row)
        return found

    def _ask(self, placements: Sequence[Placement]) -> None:
        self._rhythm.asked()
        answer = job_programs.run(slurm_states.squeue_command(getpass.getuser()))
        if answer.returncode:
            raise BackendError(f"squeue failed: {answer.stderr.strip()}")
        self._complaint = ""
        queued = slurm_states.read_squeue(answer.stdout)
        rest = {p.job_id: p for p in placements if p.job_id and p.id not in self._over}
        ended = [job for job in rest if job not in queued or slurm_states.is_over(queued[job])]
        accounted = self._accounting(ended, min((rest[job].created or 0.0 for job in ended), default=0.0))
        self._queued = queued | slurm_states.merged(queued, accounted, list(rest))
        for job in ended:
            row = self._queued.get(job)
            status = _GONE if row is None else slurm_states.status_of(row)
            if status.state is PlacementState.ENDED:
                self._over[rest[job].id] = status

    def _accounting(self, job_ids: Sequence[str], since: float) -> Mapping[str, slurm_states.JobRow]:
        """Ask sacct about jobs that have ended; where there is no accounting, not again for ten minutes."""
        if not job_ids or clock.monotonic() < self._accounting_again or shutil.which("sacct") is None:
            return {}
        start = clock.strftime("%Y-%m-%dT%H:%M:%S", clock.localtime(max(0.0, since - _AN_HOUR)))
        answer = job_programs.run(slurm_states.sacct_command(job_ids, start))
        if answer.returncode:
            self._accounting_again = clock.monotonic() + 600.0
            return {}
        return slurm_states.read_sacct(answer.stdout)


def _additional(named: Mapping[str, Any]) -> dict[str, Any]:
    """Give sbatch options; a job that Slurm requeues by itself would start workers anew under ids that have ended."""
    options: dict[str, Any] = {} if "requeue" in named else {"no-requeue": True}
    return options | _stated(named)


def _stated(named: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None and value is not False}


def _parts(ids: Sequence[str | None], size: int) -> list[list[str]]:
    known = [job for job in ids if job]
    return [known[first : first + size] for first in range(0, len(known), size)]


def _scancel(*words: str) -> None:
    answer = job_programs.run(["scancel", "--quiet", *words])
    complaints = [line for line in answer.stderr.splitlines() if line.strip() and not _is_harmless(line)]
    if answer.returncode and complaints:
        raise BackendError(f"scancel failed: {' '.join(complaints)}")


def _is_harmless(line: str) -> bool:
    return any(
        sign in line for sign in ("Invalid job id", "already completing or completed", "not pending", "not running")
    )
