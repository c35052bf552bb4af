"""What PBS says of its jobs, in each of its dialects: command lines that ask, and what their output means."""

import enum
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from rush.backends.jobs import programs as job_programs
from rush.backends.processes import exit_phrase
from rush.backends.slurm import states as slurm_states
from rush.errors import BackendError
from rush.model import PlacementState, PlacementStatus

UNKNOWN_JOB = 153
_FEW = 4
_WAITING = {"Q": "queued", "H": "held", "W": "waiting for its time", "T": "being moved"}
_RUNNING = {"R", "E", "S", "U", "B"}
_ENDED = {"F", "X", "C"}
_WALLTIME = -29
_SIGNALLED = 256


class Dialect(enum.StrEnum):
    """Whose commands qsub and its kin are."""

    OPENPBS = "openpbs"
    TORQUE = "torque"
    WRAPPER = "wrapper"
    """The commands of Torque that Slurm brings along."""


@dataclass(frozen=True)
class JobRow:
    """One job as qstat tells it."""

    state: str
    comment: str = ""
    exit_status: int | None = None
    node: str = ""


def find_dialect() -> Dialect | None:
    """Ask the programs whose they are; None where there are none. That qsub is on PATH says little."""
    if shutil.which("qsub") is None or shutil.which("qstat") is None:
        return None
    answer = job_programs.run(["qstat", "--version"])
    text = (answer.stdout + answer.stderr).lower()
    if "pbs_version" in text or "pbspro" in text:
        return Dialect.OPENPBS
    if re.search(r"^\s*version:?\s*\d", text, re.MULTILINE):
        return Dialect.TORQUE
    if "unknown option" in text or shutil.which("sbatch") is not None:
        return Dialect.WRAPPER
    return Dialect.TORQUE


def queues(dialect: Dialect) -> dict[str, str]:
    """Give the queues, and a few words on each; none where PBS does not list them in a form to be read.

    Raises
    ------
    BackendError
        PBS does not answer.
    """
    if dialect is Dialect.WRAPPER:
        return slurm_states.read_partitions(job_programs.run(slurm_states.PARTITIONS).stdout)
    words = ["-Q", "-f", "-F", "json"] if dialect is Dialect.OPENPBS else ["-Q"]
    answer = job_programs.run(["qstat", *words])
    if answer.returncode:
        raise BackendError(f"PBS does not answer: {answer.stderr.strip()}")
    return read_queues(answer.stdout) if dialect is Dialect.OPENPBS else {}


def read_queues(output: str) -> dict[str, str]:
    """Read ``qstat -Q -f -F json``."""
    try:
        found = json.loads(output).get("Queue", {})
    except ValueError as error:
        raise BackendError(f"qstat printed something else than JSON: {output[:200]!r}") from error
    words = {("True", "True"): "open", ("True", "False"): "takes jobs, runs none"}
    return {name: words.get((queue.get("enabled"), queue.get("started")), "closed") for name, queue in found.items()}


def ask(job_ids: Iterable[str], dialect: Dialect) -> dict[str, JobRow]:
    """Ask for jobs; those that PBS does not know are missing.

    OpenPBS prints only the first of several ids, so few are asked for one by one, many by asking for all there are.

    Raises
    ------
    BackendError
        PBS does not answer.
    """
    if dialect is not Dialect.OPENPBS:
        ids = sorted(job_ids)
        return _asked(["qstat", "-f", *ids], read_text) if ids else {}
    bases = sorted({array_of(job) for job in job_ids})
    command = ["qstat", "-x", "-t", "-f", "-F", "json"]
    if len(bases) > _FEW:
        return _asked(command, read_json)
    rows: dict[str, JobRow] = {}
    for base in bases:
        rows |= _asked([*command, base], read_json)
    return rows


def array_of(job_id: str) -> str:
    """Give the id of the array that a job belongs to, or its own."""
    return re.sub(r"\[\d+\]", "[]", job_id)


def read_json(output: str) -> dict[str, JobRow]:
    """Read ``qstat -f -F json``.

    Raises
    ------
    BackendError
        It is not JSON: some versions do not escape what users wrote.
    """
    try:
        found = json.loads(output or "{}", strict=False).get("Jobs", {})
    except ValueError as error:
        raise BackendError(f"qstat printed what is not JSON: {error}") from error
    return {job: _row(attributes) for job, attributes in found.items()}


def read_text(output: str) -> dict[str, JobRow]:
    """Read ``qstat -f``: long values go on in lines that begin with a tab."""
    found: dict[str, dict[str, str]] = {}
    name = job = ""
    for line in output.splitlines():
        if line.startswith("Job Id:"):
            job = line.partition(":")[2].strip()
            found[job] = {}
        elif match := re.match(r"\s+([\w.]+) = (.*)", line):
            name = match.group(1)
            found[job][name] = match.group(2)
        elif line.startswith("\t") and name:
            found[job][name] += line.strip()
    return {job: _row(attributes) for job, attributes in found.items()}


def status_of(row: JobRow) -> PlacementStatus:
    """Say what a row means; a state that is not known here is unknown, not a crash."""
    if row.state in _WAITING:
        return PlacementStatus(PlacementState.PENDING, f"waits in the queue ({row.comment or _WAITING[row.state]})")
    if row.state in _RUNNING:
        return PlacementStatus(PlacementState.RUNNING, f"on {row.node}" if row.node else "")
    if row.state in _ENDED:
        return PlacementStatus(PlacementState.ENDED, _ending(row), interrupted=_is_interrupted(row))
    return PlacementStatus(PlacementState.UNKNOWN, f"PBS says {row.state!r}")


def is_limit(message: str) -> bool:
    """Say whether qsub refused for now, not for good."""
    text = message.lower()
    signs = ("would exceed", "maximum number of jobs", "submitlimit", "maxsubmit", "temporarily", "job limit")
    return any(sign in text for sign in signs)


def _ending(row: JobRow) -> str:
    """Say why a job ended: for one that was deleted the comment alone can be relied on, not its exit status."""
    status = row.exit_status
    if "terminated by" in row.comment:
        return f"the job was deleted ({row.comment})"
    if _hit_its_limit(row):
        return "the job reached its time limit"
    if row.comment.lower().startswith("can never run"):
        return f"the job never ran ({row.comment})"
    if status is None:
        return f"the job has ended ({row.comment})" if row.comment else "the job has ended"
    if status >= _SIGNALLED:
        return f"the job failed ({exit_phrase(_SIGNALLED - status)})"
    return f"the job failed ({exit_phrase(status)})" if status else "the job has ended"


def _hit_its_limit(row: JobRow) -> bool:
    return row.exit_status == _WALLTIME or "exceeded resource walltime" in row.comment


def _is_interrupted(row: JobRow) -> bool:
    """Whether PBS ended the job for its own reasons: at its time limit, or for another job."""
    return _hit_its_limit(row) or "preempt" in row.comment.lower()


def _row(attributes: Mapping[str, object]) -> JobRow:
    status = str(attributes.get("Exit_status", attributes.get("exit_status", "")))
    node = str(attributes.get("exec_host", "")).partition("/")[0]
    known = int(status) if re.fullmatch(r"-?\d+", status) else None
    return JobRow(str(attributes.get("job_state", "")), str(attributes.get("comment", "")), known, node)


def _asked(argv: list[str], read: Callable[[str], dict[str, JobRow]]) -> dict[str, JobRow]:
    answer = job_programs.run(argv)
    if answer.returncode and not answer.stdout and "unknown job" not in answer.stderr.lower():
        if answer.returncode == UNKNOWN_JOB:
            return {}
        raise BackendError(f"qstat failed: {answer.stderr.strip() or f'exit code {answer.returncode}'}")
    return read(answer.stdout)
