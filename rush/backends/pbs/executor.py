"""A plugin for submitit: jobs on PBS, for anyone who installs rush.

``submitit.AutoExecutor(folder, cluster="pbs")`` finds it through the entry-point group ``submitit``.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from submitit.core import core, job_environment, utils

from rush.backends.jobs import programs as job_programs
from rush.backends.jobs import scripts as job_scripts
from rush.backends.pbs import scripts as pbs_scripts
from rush.backends.pbs import states as pbs_states
from rush.backends.pbs.states import Dialect
from rush.errors import BackendError, LimitReached
from rush.model import PlacementState

_STATES = {
    PlacementState.PENDING: "PENDING",
    PlacementState.RUNNING: "RUNNING",
    PlacementState.ENDED: "COMPLETED",
    PlacementState.UNKNOWN: "UNKNOWN",
}
_LISTS = {"setup", "teardown", "extra"}
_PARAMETERS = {
    "job_name", "time", "mem", "nodes", "cpus_per_task", "gpus_per_node", "tasks_per_node", "queue", "account",
    "constraint", *_LISTS,
}  # fmt: skip


def submit_script(options: Sequence[Sequence[str]], dialect: Dialect, words: Sequence[str], path: Path) -> str:
    """Submit a job script; give the job's id.

    Raises
    ------
    LimitReached
        PBS takes no more jobs for now.
    BackendError
        It refuses the job; the message has its words.
    """
    answer = job_programs.run(pbs_scripts.command_line(options, dialect, words, str(path)))
    if answer.returncode:
        message = " ".join((answer.stderr or answer.stdout).split()) or f"exit code {answer.returncode}"
        kind = LimitReached if pbs_states.is_limit(message) else BackendError
        raise kind(f"qsub refused the job: {message}")
    return job_id_of(answer.stdout)


def job_id_of(output: str) -> str:
    """Read what qsub prints: the id stands in the last line, after what the site may have to say."""
    found = [line.strip() for line in output.splitlines() if line.strip()]
    if not found:
        raise BackendError("qsub printed no job id")
    return found[-1]


class PBSInfoWatcher(core.InfoWatcher):
    """Asks PBS for the states of all jobs that submitit watches."""

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """Give the state of a job in submitit's words."""
        return self.get_info(job_id, mode=mode).get("State", "UNKNOWN")

    def _make_command(self) -> list[str] | None:
        waited = sorted(self._registered - self._finished)
        return waited or None

    def update(self) -> None:
        """Ask for all jobs that have not ended; one that PBS no longer knows has ended."""
        waited = self._make_command()
        if waited is None:
            return
        self._num_calls += 1
        self._last_status_check = time.time()
        try:
            rows = pbs_states.ask(waited, _dialect())
        except BackendError:
            return
        for job in waited:
            state = _STATES[pbs_states.status_of(rows[job]).state] if job in rows else "COMPLETED"
            self._info_dict[job] = {"JobID": job, "State": state}
            if state == "COMPLETED":
                self._finished.add(job)


class PBSJob(core.Job[core.R]):
    """A job on PBS."""

    _cancel_command = "qdel"
    watcher = PBSInfoWatcher(delay_s=60)


class PBSJobEnvironment(job_environment.JobEnvironment):
    """What a job on PBS knows of itself."""

    _env: ClassVar[dict[str, str]] = {
        "job_id": "PBS_JOBID",
        "num_tasks": "RUSH_PBS_TASKS",
        "num_nodes": "RUSH_PBS_NODES",
        "node": "RUSH_PBS_NODE",
        "nodes": "RUSH_PBS_NODE_LIST",
        "global_rank": "RUSH_PBS_RANK",
        "local_rank": "RUSH_PBS_LOCAL_RANK",
    }
    """Only the first is ever set: a job is one task on one node."""

    def _requeue(self, countdown: int) -> None:  # noqa: ARG002 - submitit's signature
        """Start the job anew; OpenPBS allows that to operators only, and then says so."""
        subprocess.check_call(["qrerun", self.job_id], timeout=60)  # noqa: S607 - the site's own


class PBSExecutor(core.PicklingExecutor):
    """Submits functions to PBS: OpenPBS, PBS Pro, Torque, or the commands of Torque that Slurm brings along.

    Parameters
    ----------
    folder
        A folder that the nodes share.
    max_num_timeout, max_pickle_size_gb
        As for submitit's other executors.
    python
        Shell words that run Python on the nodes; by default this interpreter's path.
    """

    job_class = PBSJob

    def __init__(
        self,
        folder: "str | Path",
        max_num_timeout: int = 3,
        max_pickle_size_gb: float = 1.0,
        python: str | None = None,
    ) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout, max_pickle_size_gb=max_pickle_size_gb)
        self.python = shlex.quote(sys.executable) if python is None else python

    @classmethod
    def affinity(cls) -> int:
        """Say how fit it is: not at all where qsub is missing or belongs to Slurm."""
        return 2 if pbs_states.find_dialect() in {Dialect.OPENPBS, Dialect.TORQUE} else -1

    @classmethod
    def _equivalence_dict(cls) -> core.EquivalenceDict:
        return {
            "name": "job_name",
            "timeout_min": "time",
            "mem_gb": "mem",
            "nodes": "nodes",
            "cpus_per_task": "cpus_per_task",
            "gpus_per_node": "gpus_per_node",
            "tasks_per_node": "tasks_per_node",
        }

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(_PARAMETERS)

    def _convert_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        found = super()._convert_parameters(params)
        if isinstance(found.get("mem"), int | float):
            found["mem"] = f"{int(found['mem'] * 1024)}mb"
        return found

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        strange = sorted(set(kwargs) - _PARAMETERS)
        if strange:
            raise ValueError(f"Unavailable parameter(s): {strange}; valid are: {', '.join(sorted(_PARAMETERS))}")
        for name in ("nodes", "tasks_per_node"):
            if kwargs.get(name, 1) not in {1, None}:
                raise ValueError(f"{name} must be 1 on PBS, got {kwargs[name]!r}")
        super()._internal_update_parameters(**kwargs)

    def _num_tasks(self) -> int:
        return 1

    @property
    def _submitit_command_str(self) -> str:
        return f"{self.python} -u -m submitit.core._submit {shlex.quote(str(self.folder))}"

    def _options(self) -> list[list[str]]:
        get = self.parameters.get
        wanted = pbs_scripts.Wanted(
            job_name=get("job_name", "submitit"), queue=get("queue"), account=get("account"), time=get("time", 5),
            cpus=get("cpus_per_task", 1), memory=get("mem"), gpus=get("gpus_per_node"), constraint=get("constraint"),
        )  # fmt: skip
        return pbs_scripts.options(wanted, _dialect(), "/dev/null")

    def _make_submission_file_text(self, command: str, uid: str) -> str:  # noqa: ARG002 - submitit's signature
        path = f'{shlex.quote(str(self.folder))}/"$PBS_JOBID"_0_log'
        block = job_scripts.command_block(command, tuple(self.parameters.get("teardown") or ()))
        return pbs_scripts.script(
            "pbs",
            "A function submitted through submitit.",
            self._options(),
            self.parameters.get("time", 5),
            f"exec >>{path}.out 2>>{path}.err",
            tuple(self.parameters.get("setup") or ()),
            f"export SUBMITIT_EXECUTOR=pbs\n{block}",
        )

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        words = [str(word) for word in self.parameters.get("extra") or ()]
        return pbs_scripts.command_line(self._options(), _dialect(), words, str(submission_file_path))

    @staticmethod
    def _get_job_id_from_submission_command(string: "bytes | str") -> str:
        try:
            return job_id_of(string if isinstance(string, str) else string.decode())
        except BackendError as error:
            raise utils.FailedSubmissionError(str(error)) from error


@lru_cache(maxsize=1)
def _dialect() -> Dialect:
    found = pbs_states.find_dialect()
    if found is None:
        raise BackendError("qsub and qstat are not installed here, or not on PATH")
    return found
