"""Workers on hosts that are reached over SSH: one supervisor for a host's workers, which outlives the connection."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import ClassVar, TypeVar

from rush.backends.base import Backend
from rush.backends.hosts import are_all_here
from rush.backends.jobs import scripts as job_scripts
from rush.backends.registry import load_backend
from rush.backends.ssh import host as ssh_host
from rush.backends.ssh import tunnel as ssh_tunnel
from rush.backends.ssh.config import Target, route, split_port
from rush.errors import BackendError
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand
from rush.spelling import unknown_name

CLIENTS = ("paramiko", "openssh")
_MOST_AT_ONCE = 32
_FRESH = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0

_Result = TypeVar("_Result")


class SSH(Backend):
    """Starts workers on hosts over SSH, detached: they survive the connection and their manager.

    Parameters
    ----------
    hosts
        ``[user@]host[:port]``, or names of the SSH configuration; or a mapping of these to their numbers of workers.
    workers
        How many workers a host takes at most: one number for all, or by host. They are started where no number is
        asked for. By default any number, shared out evenly.
    python
        Shell words that run Python on the hosts; by default this interpreter's path.
    setup
        Shell lines before the workers, in a login shell.
    folder
        A folder on the hosts for the workers' output; by default ~/.local/share/rush/ssh.
    gpus_per_worker
        Devices that each worker gets of those that are visible on its host.
    tunnel
        Carry the server to the hosts, which then need no route to it. The tunnel is restored when it breaks, and ends
        with this process: without it workers wait for the server for some minutes, and end then.
    client
        "paramiko", or "openssh" for the system's ``ssh`` with all that the user has configured for it, such as
        connections that are shared (ControlMaster).
    config
        Path of an SSH configuration, instead of the user's and the system's.
    timeout
        Seconds that a host may take to answer.
    """

    name: ClassVar[str] = "ssh"

    def __init__(
        self,
        hosts: str | Sequence[str] | Mapping[str, int] = (),
        *,
        workers: int | Mapping[str, int] | None = None,
        python: str | None = None,
        setup: Sequence[str] = (),
        folder: str | None = None,
        gpus_per_worker: int = 0,
        tunnel: bool = False,
        client: str = "paramiko",
        config: str | None = None,
        timeout: float = 20.0,
    ) -> None:
        if client not in CLIENTS:
            raise ValueError(unknown_name("client", client, CLIENTS))
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, got {timeout!r}")
        self.hosts, self.workers = hosts, workers
        self._room = _room(hosts, workers)
        job_scripts.check_lines(setup, "setup")
        if gpus_per_worker < 0:
            raise ValueError(f"gpus_per_worker must be 0 or more, got {gpus_per_worker!r}")
        self.python, self.setup, self.folder = python, tuple(setup), folder
        self.gpus_per_worker = gpus_per_worker
        self.tunnel, self.client, self.config, self.timeout = tunnel, client, config, timeout
        self._seen: dict[str, tuple[float, PlacementStatus]] = {}
        self._away: dict[Target, tuple[float, float, str]] = {}
        if hosts:
            load_backend(lambda: import_module(f"rush.backends.ssh.{client}"), self.name)

    def shares(self, n_workers: int) -> Sequence[int]:
        """Share workers out evenly among the hosts that have room."""
        counts = dict.fromkeys(self._room, 0)
        left = n_workers
        while left:
            takers = [host for host, most in self._room.items() if most is None or counts[host] < most][:left]
            if not takers:
                known = ", ".join(f"{host} {most}" for host, most in self._room.items()) or "none"
                raise ValueError(f"n_workers is {n_workers}, but the hosts take {n_workers - left}: {known}")
            for host in takers:
                counts[host] += 1
            left -= len(takers)
        return [count for count in counts.values() if count]

    def reaches_loopback(self) -> bool:
        """Say whether all hosts are this machine, or have a tunnel to it."""
        if self.tunnel:
            return True
        try:
            ways = [route(self._target(name)) for name in self._room]
        except BackendError:
            return False
        return are_all_here(way[-1][1].host if len(way) == 1 else "" for way in ways)

    def tie(self) -> str:
        """Name the tunnel, if there is one."""
        return "the tunnel by which they reach the server" if self.tunnel else ""

    def default_workers(self) -> int:
        """Give as many as the hosts were said to take; else one for each."""
        return sum(most or 1 for most in self._room.values()) or 1

    def check(self) -> Mapping[str, str]:
        """Log in to all hosts, and give the versions of Python and rush that workers would have there."""
        targets = {self._target(name): name for name in self._room}

        def look(target: Target) -> tuple[str, BackendError | None]:
            try:
                python = job_scripts.python_command(self.python)
                return ssh_host.check(target, python, self.setup, self.timeout), None
            except BackendError as error:
                return "", error

        found = {targets[target]: answer for target, answer in _at_once(targets, look)}
        if failures := [str(error) for _, error in found.values() if error is not None]:
            raise BackendError("; ".join(failures))
        return {name: words for name, (words, _) in found.items()}

    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        """Start one supervisor for each command, on all hosts at the same time."""
        if commands and not self._room:
            raise BackendError(
                "backend ssh has no hosts to start workers on; give it some: rush.backends.SSH(['host'])"
            )
        targets = [self._target(name) for name in self._room]
        work: dict[Target, list[WorkerCommand]] = {}
        for number, command in enumerate(commands):
            work.setdefault(targets[number % len(targets)], []).append(command)
        placed: list[Placement] = []
        failures = []
        for _, (started, error) in _at_once(work, lambda target: self._start_on(target, work[target])):
            placed += started
            if error is not None:
                failures.append(str(error))
        if failures:
            raise BackendError(
                f"{len(placed)} of {len(commands)} supervisors were started: {'; '.join(failures)}", placed
            )
        return placed

    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        """Ask the hosts, all at the same time, once a second at most; those that do not answer, ever more rarely."""
        now = time.monotonic()
        due = [p for p in placements if p.id not in self._seen or self._is_stale(self._seen[p.id], now)]
        groups = _by_target(due)
        for target, found in _at_once(groups, lambda target: self._look_at(target, groups[target])):
            del target
            self._seen.update({name: (time.monotonic(), status) for name, status in found.items()})
        return {placement.id: self._seen[placement.id][1] for placement in placements}

    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        """Send SIGTERM, by which a supervisor drains, or kill its whole tree."""
        groups = _by_target(placements)

        def stop_on(target: Target) -> str | None:
            try:
                ssh_host.stop(target, groups[target], kill=kill, patience=self.timeout)
            except BackendError as error:
                return str(error)
            return None

        failures = [failure for _, failure in _at_once(groups, stop_on) if failure]
        for placement in placements:
            self._seen.pop(placement.id, None)
        if failures:
            raise BackendError("; ".join(failures))

    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        """Give the script that each host would run."""
        hosts = list(self._room) or ["HOST"]
        parts = [
            f"# on {hosts[number % len(hosts)]}:\n{self._script(command)}" for number, command in enumerate(commands)
        ]
        return "\n".join(parts)

    def tail(self, placement: Placement, lines: int = 50) -> str:
        """Read the last lines of a supervisor's stderr on its host; '' where it cannot be reached."""
        if placement.stderr is None:
            return ""
        try:
            return ssh_host.tail(ssh_host.target_of(placement), placement.stderr, lines, self.timeout)
        except BackendError:
            return ""

    def clear(self, placements: Sequence[Placement]) -> None:
        """Remove the folders of placements that have ended, on the hosts that can be reached."""
        groups = _by_target(placements)

        def clear_on(target: Target) -> None:
            with contextlib.suppress(BackendError):
                ssh_host.clear(target, groups[target], self.timeout)

        _at_once(groups, clear_on)

    def _target(self, name: str) -> Target:
        return Target(name, self.config, self.client)

    def _script(self, command: WorkerCommand) -> str:
        return ssh_host.worker_script(command, job_scripts.python_command(self.python), self.setup)

    def _start_on(
        self, target: Target, commands: Sequence[WorkerCommand]
    ) -> tuple[list[Placement], BackendError | None]:
        started: list[Placement] = []
        try:
            for command in commands:
                script = self._script(command)
                secret = command.secret
                if self.tunnel:
                    secret = ssh_tunnel.through_tunnel(target, secret, self.timeout)
                started.append(ssh_host.start(target, command, secret, script, self.folder, self.timeout))
        except BackendError as error:
            return started, error
        return started, None

    def _look_at(self, target: Target, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        again, pause, reason = self._away.get(target, (0.0, 0.0, ""))
        if time.monotonic() >= again:
            try:
                found = ssh_host.poll(target, placements, self.timeout)
            except BackendError as error:
                pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
                reason = str(error)
                self._away[target] = (time.monotonic() + pause, pause, reason)
            else:
                self._away.pop(target, None)
                return found
        return dict.fromkeys((p.id for p in placements), PlacementStatus(PlacementState.UNKNOWN, reason))

    @staticmethod
    def _is_stale(seen: tuple[float, PlacementStatus], now: float) -> bool:
        at, status = seen
        return status.state is not PlacementState.ENDED and now - at >= _FRESH


def _room(
    hosts: str | Sequence[str] | Mapping[str, int], workers: int | Mapping[str, int] | None
) -> dict[str, int | None]:
    """Say how many workers each host takes; None for any number."""
    if isinstance(hosts, Mapping):
        if workers is not None:
            raise TypeError("workers stand in hosts already; give them once")
        workers = hosts
    names = _names([hosts] if isinstance(hosts, str) else list(hosts))
    if isinstance(workers, Mapping):
        if strange := sorted(set(workers) - set(names)):
            raise ValueError(unknown_name("host", strange[0], names))
        if missing := [name for name in names if name not in workers]:
            raise ValueError(f"workers says nothing of host {missing[0]!r}")
        room: dict[str, int | None] = {name: workers[name] for name in names}
    else:
        room = dict.fromkeys(names, workers)
    for name, most in room.items():
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise ValueError(f"workers on host {name!r} must be 1 or more, got {most!r}")
    return room


def _names(names: list[str]) -> list[str]:
    """Check the names of hosts."""
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"hosts must be names of hosts, got {name!r}")
        split_port(name)
    if len(set(names)) < len(names):
        raise ValueError(f"hosts must be different, got {names!r}; to have more workers on one, say workers=")
    return names


def _by_target(placements: Iterable[Placement]) -> dict[Target, list[Placement]]:
    groups: dict[Target, list[Placement]] = {}
    for placement in placements:
        groups.setdefault(ssh_host.target_of(placement), []).append(placement)
    return groups


def _at_once(targets: Mapping[Target, object], do: Callable[[Target], _Result]) -> list[tuple[Target, _Result]]:
    """Do something on all hosts at the same time; give what came of it, in their order."""
    if len(targets) < 2:
        return [(target, do(target)) for target in targets]
    with ThreadPoolExecutor(min(len(targets), _MOST_AT_ONCE), thread_name_prefix="rush-ssh") as threads:
        return list(zip(targets, threads.map(do, targets), strict=True))
