"""Workers beside the workers of a Dask cluster."""

import contextlib
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

import dask
from distributed import Client

from rush.backends import processes
from rush.backends.base import Backend
from rush.backends.dask import jobs as dask_jobs
from rush.backends.dask import links as dask_links
from rush.backends.dask import side as dask_side
from rush.backends.dask.jobs import JobCluster
from rush.backends.hosts import are_all_here
from rush.backends.local import Local
from rush.errors import BackendError
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand

if TYPE_CHECKING:
    from distributed.deploy.cluster import Cluster

_START = 60.0
"""Seconds for which a Dask worker may take to start supervisors: it may have to import rush first."""


class Dask(Backend):
    """Starts one supervisor beside each worker of a Dask cluster, as a process of its own, which ends with that worker.

    Nothing of it is a Dask task: Dask goes on as before. The server's address and keys travel over Dask's connections
    to its workers, in no task, key or log; only with TLS are those connections encrypted.

    Parameters
    ----------
    client
        A `distributed.Client`, a cluster object, or a scheduler's address. By default what Dask's configuration names,
        else this process's current client.
    scheduler_file
        A scheduler's file, instead of `client`.
    cluster
        ``slurm`` or ``pbs``: build a cluster of jobs with dask-jobqueue, at the first start. It is closed by `close`,
        or when this process ends.
    jobs, options
        How many jobs that cluster has, and options of dask-jobqueue's class, like ``{"cores": 8, "memory": "16GB"}``;
        what is not given is taken from Dask's configuration (jobqueue.yaml).
    wait
        Seconds for which a start waits until Dask workers are there, all that `jobs` bring, else one; None for ever.
    python
        The interpreter that runs the workers, on the Dask workers' hosts; by default theirs.
    folder
        Where the folders with the workers' output are made; by default the system's for temporary files.
    gpus_per_worker
        Devices that each worker gets of those that its Dask worker may use. Where nothing restricts these, Dask workers
        of one host divide them.
    """

    name: ClassVar[str] = "dask"

    def __init__(
        self,
        client: "Client | Cluster | str | None" = None,
        *,
        scheduler_file: str | os.PathLike[str] | None = None,
        cluster: str | None = None,
        jobs: int = 1,
        options: Mapping[str, Any] | None = None,
        wait: float | None = 60.0,
        python: str | None = None,
        folder: str | None = None,
        gpus_per_worker: int = 0,
    ) -> None:
        if sum(one is not None for one in (client, scheduler_file, cluster)) > 1:
            raise ValueError("give one of client, scheduler_file and cluster: each names a Dask cluster")
        if isinstance(client, Client) and client.asynchronous:
            raise TypeError("an asynchronous Dask client cannot be waited for here; give its scheduler's address")
        if isinstance(jobs, bool) or jobs < 1:
            raise ValueError(f"jobs must be 1 or more, got {jobs!r}")
        if cluster is not None:
            dask_jobs.check(cluster, options or {})
        elif options is not None:
            raise ValueError("options are those of a cluster that is built: give cluster='slurm' or 'pbs', too")
        self._target, self._scheduler_file = client, scheduler_file
        self._kind, self._jobs, self._options = cluster, jobs, dict(options or {})
        self._wait, self.python, self.folder = wait, python, folder
        self.gpus_per_worker = gpus_per_worker
        self._client: Client | None = None
        self._cluster: JobCluster | None = None
        self._load: Counter[str] = Counter()

    def default_workers(self) -> int:
        """Give the number of threads of all Dask workers."""
        return sum(int(worker["nthreads"]) for worker in self._ready()[1].workers.values())

    def shares(self, n_workers: int) -> Sequence[int]:
        """Spread the workers over the Dask workers, in proportion to their threads."""
        workers = self._ready()[1].workers
        load = Counter(self._load)
        placed = [_least(workers, load, 1) for _ in range(n_workers)]
        return sorted(Counter(placed).values(), reverse=True)

    def reaches_loopback(self) -> bool:
        """Say whether all Dask workers are on this machine."""
        return are_all_here(str(worker["host"]) for worker in self._ready()[1].workers.values())

    def tie(self) -> str:
        """Name the cluster, if it is built here."""
        return "" if self._kind is None else "the Dask cluster that is built for them"

    def small(self) -> Backend:
        """Ask for one job, where a cluster is to be built."""
        return self._but(jobs=1) if self._kind is not None and self._cluster is None else self

    def with_words(self, words: Sequence[str]) -> Backend:
        """Add words to what dask-jobqueue asks the job system for."""
        if not words or self._kind is None:
            return super().with_words(words)
        return self._but(options=dask_jobs.with_words(self._kind, self._options, words))

    def check(self) -> Mapping[str, str]:
        """Connect to the cluster; where one is to be built, only look for the job system's program."""
        if self._kind is not None and self._cluster is None:
            return dask_jobs.check_program(self._kind)
        seen = self._ready()[1]
        count = {"Dask workers": str(len(seen.workers)), "threads": str(self.default_workers())}
        return {"scheduler": seen.address, **count}

    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        """Have the Dask workers start one process for each command, and hand it its secrets on standard input."""
        client, seen = self._ready()
        chosen = self._choose(seen.workers, [len(command.worker_ids) for command in commands])
        devices = self._devices(seen.workers, chosen, commands)
        paths = tuple(processes.module_paths())
        orders: dict[str, list[dask_side.Order]] = {address: [] for address in chosen}
        for command, address, own in zip(commands, chosen, devices, strict=True):
            complete = replace(command, arguments=(*command.arguments, *paths))
            orders[address].append(dask_side.Order(complete, self.python, self.folder, own))
        answers = dask_links.ask(client, {a: (dask_side.place, (of,)) for a, of in orders.items()}, _START)
        return self._placements(seen, chosen, answers)

    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Ask the Dask workers; one that is gone has taken its supervisors along."""
        found: dict[str, PlacementStatus] = {}
        for group in _by(placements, "scheduler").values():
            try:
                alive, answers = self._ask(group, dask_side.report)
            except BackendError as error:
                found |= {one.id: _seen_without_dask(one, str(error)) for one in group}
                continue
            for one in group:
                address = one.details["dask_worker"]
                answer = answers.get(address)
                if address not in alive:
                    found[one.id] = PlacementStatus(PlacementState.ENDED, f"its Dask worker {address} is gone")
                elif isinstance(answer, Mapping) and one.id in answer:
                    found[one.id] = answer[one.id]
                else:
                    found[one.id] = PlacementStatus(PlacementState.UNKNOWN, f"Dask worker {address}: {answer}")
        return found

    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Send SIGTERM, by which a supervisor drains, or kill its whole tree."""
        complaints = []
        for group in _by(placements, "scheduler").values():
            try:
                answers = self._ask(group, dask_side.halt, kill)[1]
            except BackendError as error:
                Local().stop(group, kill=kill)
                complaints += [str(error)] if not all(processes.is_here(one) for one in group) else []
                continue
            complaints += [f"Dask worker {a}: {error}" for a, error in answers.items() if error is not None]
        if complaints:
            raise BackendError(f"could not stop all: {'; '.join(complaints)}")

    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        """Give the command lines, and the script of the jobs if a cluster is to be built."""
        python = self.python or "python"
        lines = [shlex.join([*command.argv(python), "--supervised"]) for command in commands]
        script = [] if self._kind is None else ["", dask_jobs.script(self._kind, self._options)]
        return "\n".join(["# beside Dask workers:", *lines, *script])

    def tail(self, placement: Placement, lines: int = 50) -> str:
        """Give the last lines of a supervisor's stderr, from its Dask worker, else from the file where it is shared."""
        with contextlib.suppress(BackendError):
            answer = self._ask([placement], dask_side.tails, lines)[1].get(placement.details["dask_worker"])
            if isinstance(answer, Mapping):
                return str(answer[placement.id])
        return processes.tail_of(placement.stderr, lines)

    def clear(self, placements: Sequence[Placement]) -> None:
        """Remove the folders with their output."""
        for group in _by(placements, "scheduler").values():
            with contextlib.suppress(BackendError):
                self._ask(group, dask_side.clear)

    def close(self) -> None:
        """Close the cluster that was built here, which ends its jobs and the workers in them."""
        if self._cluster is None:
            return
        if self._client is not None:
            dask_links.forget(self._client)
        self._cluster.close()
        self._client = self._cluster = None
        self._load.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _but(self, *, jobs: int | None = None, options: Mapping[str, Any] | None = None) -> "Dask":
        """Give one that differs in the cluster that it builds."""
        return Dask(
            cluster=self._kind,
            jobs=self._jobs if jobs is None else jobs,
            options=self._options if options is None else options,
            wait=self._wait,
            python=self.python,
            folder=self.folder,
            gpus_per_worker=self.gpus_per_worker,
        )

    def _ready(self) -> tuple[Client, dask_links.Cluster]:
        """Connect, and wait until there are Dask workers."""
        client = self._client = self._client if self._client is not None else self._connect()
        wanted = 1 if self._cluster is None else self._cluster.n_workers
        deadline = None if self._wait is None else time.monotonic() + self._wait
        while True:
            seen = dask_links.remember(client)
            if len(seen.workers) >= wanted:
                return client, seen
            if self._cluster is not None and (complaints := self._cluster.complaints):
                self.close()
                raise BackendError(f"a job of the Dask cluster was refused: {complaints[-1]}")
            if deadline is not None and time.monotonic() >= deadline:
                raise BackendError(
                    f"{len(seen.workers)} of {wanted} Dask worker(s) were there after {self._wait:g} s at "
                    f"{seen.address}; Dask(wait=...) waits longer"
                )
            with contextlib.suppress(TimeoutError):
                client.wait_for_workers(wanted, timeout=1)

    def _connect(self) -> Client:
        if self._kind is not None:
            self._cluster = self._cluster or JobCluster(self._kind, self._jobs, self._options)
            return dask_links.connect(self._cluster.cluster, "the cluster that was built")
        if self._scheduler_file is not None:
            path = Path(self._scheduler_file)
            if not path.exists():
                raise BackendError(f"there is no scheduler file {path}; does the scheduler run?")
            return dask_links.connect(None, f"the scheduler of {path}", scheduler_file=str(path))
        if isinstance(self._target, Client):
            return self._target
        target = self._target if self._target is not None else dask.config.get("scheduler-address", None)
        if target is not None:
            return dask_links.connect(target, f"the Dask cluster {target}")
        with contextlib.suppress(ValueError):
            current: Client = Client.current()
            return current
        raise BackendError(
            "no Dask cluster is named: give Dask a client, an address, a scheduler_file or cluster='slurm', or set "
            "DASK_SCHEDULER_ADDRESS"
        )

    def _choose(self, workers: Mapping[str, Mapping[str, Any]], sizes: Iterable[int]) -> list[str]:
        """Choose a Dask worker for each supervisor: another one each time, for as long as there are others."""
        load, used = Counter(self._load), Counter[str]()
        chosen = []
        for size in sizes:
            fewest = min(used[address] for address in workers)
            fresh = {address: worker for address, worker in workers.items() if used[address] == fewest}
            chosen.append(_least(fresh, load, size))
            used[chosen[-1]] += 1
        return chosen

    def _devices(
        self, workers: Mapping[str, Mapping[str, Any]], chosen: Sequence[str], commands: Sequence[WorkerCommand]
    ) -> list[tuple[str, ...]]:
        """Divide the devices of each host among its Dask workers."""
        first: Counter[str] = Counter()
        shares = []
        for address, command in zip(chosen, commands, strict=True):
            host, count = str(workers[address]["host"]), self.gpus_per_worker * len(command.worker_ids)
            shares.append(tuple(str(number) for number in range(first[host], first[host] + count)))
            first[host] += count
        return shares

    def _placements(
        self, seen: dask_links.Cluster, chosen: Sequence[str], answers: Mapping[str, Any]
    ) -> list[Placement]:
        left = {address: iter(answer) for address, answer in answers.items() if isinstance(answer, list)}
        placed, refused = [], []
        for address in chosen:
            answer = next(left[address]) if address in left else answers[address]
            if not isinstance(answer, Placement):
                hint = "; install rush-hpc there, too" if isinstance(answer, ImportError) else ""
                refused.append(f"Dask worker {address}: {answer}{hint}")
                continue
            own = {"scheduler": seen.address, "scheduler_id": seen.id, "dask_worker": address}
            placed.append(replace(answer, backend=self.name, details={**answer.details, **own}))
            self._load[address] += len(answer.worker_ids)
        if refused:
            raise BackendError(f"{len(placed)} of {len(chosen)} were started: {'; '.join(refused)}", placed)
        return placed

    def _ask(
        self, group: Sequence[Placement], function: Callable[..., Any], *arguments: Any
    ) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Ask the Dask workers of placements of one scheduler; give those that are there, and the answers."""
        address = group[0].details["scheduler"]
        client = dask_links.client_at(address)
        seen = dask_links.look(client)
        if seen.id != group[0].details["scheduler_id"]:
            raise BackendError(f"another Dask scheduler is at {address} now")
        calls = {
            worker: (function, (of, *arguments))
            for worker, of in _by(group, "dask_worker").items()
            if worker in seen.workers
        }
        return seen.workers, dask_links.ask(client, calls)


def _by(placements: Iterable[Placement], detail: str) -> dict[str, list[Placement]]:
    groups: dict[str, list[Placement]] = {}
    for placement in placements:
        groups.setdefault(placement.details[detail], []).append(placement)
    return groups


def _least(workers: Mapping[str, Mapping[str, Any]], load: Counter[str], size: int) -> str:
    """Give the Dask worker that would have the least work for each of its threads, and note it."""
    chosen = min(workers, key=lambda a: ((load[a] + size) / max(1, int(workers[a]["nthreads"])), a))
    load[chosen] += size
    return chosen


def _seen_without_dask(placement: Placement, why: str) -> PlacementStatus:
    status = processes.status_of(placement)
    return status if status.state is not PlacementState.UNKNOWN else PlacementStatus(PlacementState.UNKNOWN, why)
