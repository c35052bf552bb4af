"""Workers as jobs of PBS: OpenPBS and PBS Pro, Torque, and the commands of Torque that Slurm brings along."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rush.backends import hosts
from rush.backends.jobs import programs as job_programs
from rush.backends.jobs import scripts as job_scripts
from rush.backends.jobs.programs import Rhythm
from rush.backends.jobs.system import JobSystem
from rush.backends.pbs import scripts as pbs_scripts
from rush.backends.pbs import states as pbs_states
from rush.backends.pbs.executor import submit_script
from rush.backends.pbs.states import Dialect
from rush.backends.slurm import states as slurm_states
from rush.errors import BackendError, ConfigError
from rush.model import Placement, PlacementState, PlacementStatus
from rush.spelling import unknown_name

_INDEX = "${PBS_ARRAY_INDEX:-0}"
_GONE = PlacementStatus(PlacementState.ENDED, "PBS no longer knows the job")


@dataclass(kw_only=True, eq=False)
class PBS(JobSystem):
    """Starts workers as PBS jobs; where the dialect has them, many are one job array.

    Its other options are those of `JobSystem`; `constraint` is more of the resource request, added after a colon.

    Parameters
    ----------
    queue
        As for qsub.
    array_size
        The largest array that the site allows.
    dialect
        ``openpbs``, ``torque`` or ``wrapper``; by default the programs are asked.
    """

    name: ClassVar[str] = "pbs"

    template: str = "pbs"
    queue: str | None = None
    array_size: int = 1000
    dialect: str | None = None

    def __post_init__(self) -> None:
        """Check what was given."""
        super().__post_init__()
        known = [one.value for one in Dialect]
        if self.dialect is not None and self.dialect not in known:
            raise ConfigError(unknown_name("dialect of PBS", self.dialect, known))
        self._server = _Server(None if self.dialect is None else Dialect(self.dialect))

    def _poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        return self._server.of(placements)

    def _sees(self, placement: Placement) -> bool:
        return self._server.sees(placement)

    def _may_start_again(self) -> bool:
        words = " ".join(self._extra_words())
        return "-r y" in words or "-ry" in words

    def _stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Delete or signal jobs; where there is no qsig, both are deleted."""
        ids = [placement.job_id for placement in placements if placement.job_id]
        left = ids
        if shutil.which("qsig") is not None:
            number = "SIGKILL" if kill else "SIGTERM"
            refused = [job for job in ids if job_programs.run(["qsig", "-s", number, job]).returncode]
            left = ids if kill else refused
        for first in range(0, len(left), 100):
            _qdel(left[first : first + 100])

    def _hand_script(self, network_id: str, command: str) -> str:
        options = pbs_scripts.options(self._wanted, self._dialect_or_openpbs(), "")
        words = pbs_scripts.words_of(self._wanted)
        return self._filled(network_id, [*options, *([words] if words else [])], "", command)

    @property
    def _wanted(self) -> pbs_scripts.Wanted:
        return pbs_scripts.Wanted(
            queue=self.queue,
            account=self.account,
            time=self.time,
            cpus=self.cpus or self.workers_per_job,
            memory=self.memory,
            gpus=self._devices,
            constraint=self.constraint,
            extra=self.extra,
        )

    def _extra_words(self) -> list[str]:
        return pbs_scripts.words_of(self._wanted) or [
            w for option in pbs_scripts.extra_of(self._wanted) for w in option
        ]

    def check(self) -> Mapping[str, str]:
        """Ask PBS for its dialect and queues, and fill in the job script."""
        dialect = self._server.dialect()
        self.preview([])
        queues = pbs_states.queues(dialect)
        if self.queue is not None and queues and self.queue not in queues:
            raise BackendError(unknown_name("queue", self.queue, queues))
        listed = ", ".join(f"{name} ({said})" for name, said in queues.items())
        return {"dialect": dialect.value, **({"queues": listed} if listed else {})}

    def _dialect_or_openpbs(self) -> Dialect:
        try:
            return self._server.dialect()
        except BackendError:
            return Dialect.OPENPBS

    def _nodes(self) -> set[str]:
        return hosts.pbs_nodes(self._server.dialect())

    def _largest_array(self) -> int:
        return self.array_size if self._server.dialect() is Dialect.OPENPBS else 1

    def _preview(self, network_id: str, folder: Path, count: int) -> tuple[str, str]:
        dialect = self._dialect_or_openpbs()
        options = self._options(folder, 0, count if dialect is Dialect.OPENPBS else 1, dialect)
        words = pbs_scripts.words_of(self._wanted)
        submitted = pbs_scripts.command_line(options, dialect, words, f"{folder}/job-0.sh")
        return shlex.join(submitted), self._script(network_id, folder, 0, options)

    def _options(self, folder: Path, first: int, count: int, dialect: Dialect) -> list[list[str]]:
        log = f"{folder}/" if count > 1 else f"{folder}/job-{first}.log"
        return pbs_scripts.options(self._wanted, dialect, log, count)

    def _script(self, network_id: str, folder: Path, first: int, options: Sequence[Sequence[str]]) -> str:
        path = f'{shlex.quote(str(folder))}/worker-"$(({first} + {_INDEX}))"'
        return self._filled(network_id, options, f"exec >{path}.out 2>{path}.err", f"/bin/sh {path}.sh")

    def _filled(self, network_id: str, options: Sequence[Sequence[str]], output: str, command: str) -> str:
        block = job_scripts.command_block(command, self.teardown)
        title = job_scripts.title(network_id)
        return pbs_scripts.script(self.template, title, options, self.time, output, self.setup, block)

    def _submit(self, network_id: str, folder: Path, first: int, count: int) -> Sequence[str]:
        dialect = self._server.dialect()
        options = self._options(folder, first, count, dialect)
        path = folder / f"job-{first}.sh"
        path.write_text(self._script(network_id, folder, first, options))
        job = submit_script(options, dialect, pbs_scripts.words_of(self._wanted), path)
        return [job] if count == 1 else [job.replace("[]", f"[{n}]", 1) for n in range(count)]

    def _output(self, folder: Path, job_id: str, number: int) -> tuple[Path, Path]:  # noqa: ARG002 - named by number
        return folder / f"worker-{number}.out", folder / f"worker-{number}.err"

    def _details(self, job_id: str) -> Mapping[str, str]:
        return {"server": self._server.name(job_id)}

    def _look_again(self) -> None:
        self._server.hurry()


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
            found = shutil.which("scontrol") and job_programs.run(["scontrol", "show", "config"]).stdout
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
    answer = job_programs.run(["qdel", *ids])
    harmless = ("unknown job", "has finished", "invalid job id", "already completing", "request invalid for state")
    complaints = [
        line
        for line in answer.stderr.splitlines()
        if line.strip() and not any(sign in line.lower() for sign in harmless)
    ]
    if answer.returncode and complaints:
        raise BackendError(f"qdel failed: {' '.join(complaints)}")
