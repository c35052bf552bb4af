"""Dask clusters made of batch jobs, by dask-jobqueue, and what rush adds to their jobs."""

import contextlib
import inspect
import shlex
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import dask
from distributed import Status

from rush.backends.jobs.scripts import seconds_of
from rush.config import job_leftovers
from rush.errors import BackendError, ConfigError, MissingDependency
from rush.spelling import unknown_name

KINDS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}


class JobCluster:
    """A cluster of dask-jobqueue, closed when it is told to, else when this process ends.

    Its jobs do not inherit secrets of this process, or what describes the job that it may run in, and tell the
    workers when they will end.

    Parameters
    ----------
    kind
        ``slurm`` or ``pbs``.
    jobs
        How many to submit.
    options
        Of dask-jobqueue's class; what is not given is taken from Dask's own configuration, as there.
    """

    def __init__(self, kind: str, jobs: int, options: Mapping[str, Any]) -> None:
        given = _prepared(kind, options)
        self.complaints: list[str] = []
        self.cluster = _class(kind)(job_cls=_job_class(kind, self.complaints), **given)
        self.cluster.scale(jobs=jobs)
        job = self.cluster._dummy_job  # noqa: SLF001 - where dask-jobqueue has put its configuration together
        self.n_workers = jobs * int(job.worker_processes)
        _open.append(self)

    def close(self) -> None:
        """Cancel the jobs and end the scheduler."""
        if self in _open:
            _open.remove(self)
            self.cluster.close()


_open: list[JobCluster] = []
"""Clusters are Dask's to close at exit for as long as somebody refers to them."""


def check(kind: str, options: Mapping[str, Any]) -> None:
    """Raise unless dask-jobqueue has such a cluster and such options."""
    if kind not in KINDS:
        raise ConfigError(unknown_name("Dask cluster", kind, list(KINDS)))
    known = sorted({*_names(_class(kind)), *_names(_class(kind).job_cls)} - {"job_cls", "asynchronous", "n_workers"})
    for name in options:
        if name not in known:
            raise ConfigError(unknown_name(f"option of dask-jobqueue's {KINDS[kind]}", name, known))


def check_program(kind: str) -> dict[str, str]:
    """Give the path of the job system's program.

    Raises
    ------
    BackendError
        It is not here.
    """
    program = _class(kind).job_cls.submit_command
    path = shutil.which(program)
    if path is None:
        raise BackendError(f"{program} is not installed here, or not on PATH; run this on a login node")
    return {"program": path}


def with_words(kind: str, options: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Give options by which jobs are asked for with these words as well."""
    directives = options.get("job_extra_directives")
    directives = _configured(kind, "job-extra-directives") if directives is None else directives
    return {**options, "job_extra_directives": [*(directives or []), shlex.join(words)]}


def script(kind: str, options: Mapping[str, Any]) -> str:
    """Give the script of a job."""
    job = _job_class(kind, [])
    given = {name: value for name, value in _prepared(kind, options).items() if name in _names(job.__bases__[0])}
    text = job(scheduler="tcp://SCHEDULER", name="NAME", **given).job_script()
    return f"# {job.submit_command} JOB\n{text}"


def _prepared(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Add a line by which workers learn when their job ends."""
    prologue = options.get("job_script_prologue")
    prologue = _configured(kind, "job-script-prologue") if prologue is None else prologue
    limit = options.get("walltime")
    seconds = None
    with contextlib.suppress(ValueError):
        seconds = seconds_of(_configured(kind, "walltime") if limit is None else limit)
    line = [] if seconds is None else [f"export RUSH_JOB_END_TIME=$(($(date +%s) + {seconds}))"]
    return {**options, "job_script_prologue": [*line, *(prologue or [])]}


def _configured(kind: str, name: str) -> Any:
    return dask.config.get(f"jobqueue.{kind}.{name}", None)


def _job_class(kind: str, complaints: list[str]) -> Any:
    """Give dask-jobqueue's kind of job, submitted in a clean environment, with an ear for what is refused."""
    base = _class(kind).job_cls
    forget = [word for name in job_leftovers() for word in ("-u", name)]

    async def start(self: Any) -> None:
        try:
            await base.start(self)
        except Exception as error:
            complaints.append(str(error))
            self.status = Status.failed  # or the cluster cannot be closed
            raise

    command = " ".join(["env", *forget, base.submit_command])
    return type(base.__name__, (base,), {"submit_command": command, "start": start})


def _class(kind: str) -> Any:
    try:
        import dask_jobqueue
    except ImportError as error:
        raise MissingDependency(f"cluster={kind!r} needs dask-jobqueue: pip install 'rush-hpc[dask]'") from error
    return getattr(dask_jobqueue, KINDS[kind])


def _names(kind: type) -> set[str]:
    """Name what the constructors of a class and its bases take."""
    return {
        name
        for one in kind.__mro__
        if "__init__" in vars(one) and one is not object
        for name, parameter in inspect.signature(one).parameters.items()
        if parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
    }
