"""What Slurm says of its jobs: command lines that ask, and what their output means."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rush.backends.processes import exit_phrase
from rush.model import PlacementState, PlacementStatus

_WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
_RUNNING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
_ENDED = {
    "COMPLETED": "the job has ended",
    "FAILED": "the job failed",
    "CANCELLED": "the job was cancelled",
    "TIMEOUT": "the job reached its time limit",
    "DEADLINE": "the job reached its deadline",
    "PREEMPTED": "the job was preempted",
    "NODE_FAIL": "the job's node failed",
    "BOOT_FAIL": "the job's node did not boot",
    "OUT_OF_MEMORY": "the job ran out of memory",
    "LAUNCH_FAILED": "the job could not be launched",
}
_INTERRUPTED = {"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}
"""Endings that are not the workers' doing, nor anybody's wish."""
_NO_REASON = {"", "None", "NonZeroExitCode"}


@dataclass(frozen=True)
class JobRow:
    """One job as squeue or sacct tells it; `exit_code` is ``code:signal``."""

    state: str
    reason: str = ""
    nodes: str = ""
    exit_code: str = ""


PARTITIONS = ("sinfo", "--noheader", "--format=%R|%a|%D|%l")


def read_partitions(output: str) -> dict[str, str]:
    """Read what `PARTITIONS` asks: the partitions, and a few words on each."""
    found: dict[str, list[str]] = {}
    for line in output.splitlines():
        name, state, nodes, limit = f"{line.strip()}|||".split("|")[:4]
        found.setdefault(name, [state, "0", limit])
        found[name][1] = str(int(found[name][1]) + int(nodes or 0))
    return {name: f"{state}, nodes {nodes}, limit {limit}" for name, (state, nodes, limit) in found.items() if name}


def squeue_command(user: str) -> list[str]:
    """Ask for all jobs of a user at once: an unknown id among many would make squeue fail."""
    return ["squeue", "--noheader", "--array", "--states=all", f"--user={user}", "--format=%i|%T|%r|%N"]


def sacct_command(job_ids: Iterable[str], since: str) -> list[str]:
    """Ask for jobs by id; `since` keeps those out that had the same ids before the ids began anew."""
    bases = sorted({job.partition("_")[0] for job in job_ids}, key=int)
    columns = "--format=JobID,State,ExitCode,NodeList"
    jobs = f"--jobs={','.join(bases)}"
    return ["sacct", "--noheader", "--parsable2", "--allocations", f"--starttime={since}", columns, jobs]


def read_squeue(output: str) -> dict[str, JobRow]:
    """Read the rows of `squeue_command`."""
    rows = {}
    for line in output.splitlines():
        job, state, reason, nodes = f"{line.strip()}|||".split("|")[:4]
        for one in expand(job):
            rows[one] = JobRow(state, reason, nodes)
    return rows


def read_sacct(output: str) -> dict[str, JobRow]:
    """Read the rows of `sacct_command`."""
    rows = {}
    for line in output.splitlines():
        job, state, code, nodes = f"{line.strip()}|||".split("|")[:4]
        for one in expand(job):
            rows[one] = JobRow(state, "", nodes, code)
    return rows


def expand(job: str) -> list[str]:
    """Give the ids behind one: ``7_[0-2,5%4]`` stands for four."""
    match = re.fullmatch(r"(\d+)_\[([\d,-]+)(?:%\d+)?\]", job)
    if match is None:
        return [job]
    base, ranges = match.groups()
    found = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        found += [f"{base}_{index}" for index in range(int(first), int(last or first) + 1)]
    return found


def status_of(row: JobRow) -> PlacementStatus:
    """Say what a row means; a state that is not known here is unknown, not a crash."""
    word = row.state.split(" ")[0].rstrip("+")
    reason = "" if row.reason in _NO_REASON else row.reason
    if word in _WAITING:
        return PlacementStatus(PlacementState.PENDING, f"waits in the queue ({reason or word})")
    if word in _RUNNING:
        return PlacementStatus(PlacementState.RUNNING, f"on {row.nodes}" if row.nodes else "")
    if word not in _ENDED:
        return PlacementStatus(PlacementState.UNKNOWN, f"Slurm says {row.state!r}")
    phrase = _ENDED[word]
    details = [text for text in (reason, _exit(row.exit_code)) if text]
    reason = f"{word}: {phrase}" + (f" ({', '.join(details)})" if details else "")
    return PlacementStatus(PlacementState.ENDED, reason, interrupted=word in _INTERRUPTED)


def merged(queued: Mapping[str, JobRow], accounted: Mapping[str, JobRow], job_ids: Sequence[str]) -> dict[str, JobRow]:
    """Join both: squeue is ahead of the accounting, which alone knows exit codes and jobs that ended long ago."""
    rows = {}
    for job in job_ids:
        first, second = queued.get(job), accounted.get(job)
        if first is None and second is not None:
            rows[job] = second
        elif first is not None:
            code = second.exit_code if second is not None and is_over(second) else ""
            rows[job] = JobRow(first.state, first.reason, first.nodes, code)
    return rows


def is_over(row: JobRow) -> bool:
    """Say whether a row's job has ended."""
    return status_of(row).state is PlacementState.ENDED


def read_config(output: str) -> dict[str, str]:
    """Read ``scontrol show config``."""
    pairs = (line.partition("=") for line in output.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def is_limit(message: str) -> bool:
    """Say whether sbatch refused for now, not for good."""
    text = message.lower()
    return any(
        sign in text
        for sign in ("submitlimit", "submit limit", "maxsubmit", "maxjobcount", "temporarily", "submitjobs")
    )


def _exit(code: str) -> str:
    status, _, number = code.partition(":")
    if number.isdigit() and int(number):
        return exit_phrase(-int(number))
    return exit_phrase(int(status)) if status.isdigit() and int(status) else ""
