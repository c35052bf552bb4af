"""`Rush`: starts, watches and stops the workers of a network, and reads what they found."""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from rush.backends import Backend, Local, find_backend
from rush.keys import check_id
from rush.manager import arguments, keeping, places, placing, watching
from rush.manager.hashes import Hashes
from rush.manager.logbook import Replay, log_table
from rush.manager.loops import (
    LoopOptions,
    bind_loop,
    check_options,
    make_spec,
    new_loop_id,
    options_among,
)
from rush.manager.scripts import forget_secrets, worker_script
from rush.model import Placement, StopKind
from rush.plan import check_count, setting
from rush.store.session import new_epoch

if TYPE_CHECKING:
    import os

    import pandas as pd
    import redis

    from rush.config import RedisConfig

LEAVE_GRACE = 10.0
KILL_WAIT = 5.0
STOP_TYPES = tuple(StopKind)
_OPTIONS = ("n_workers", "backend", *(name for name in LoopOptions.__dataclass_fields__ if name != "kwargs"))


class Rush(Hashes):
    """A manager of a network.

    No process is in charge of a network: a manager starts, watches and stops workers and reads the results, and may
    leave and come back. As a context manager it ends, on leaving, the workers that it started.

    Parameters
    ----------
    network_id
        Identifier of the network; manager and workers must have the same. Made if None.
    config
        The server: a `RedisConfig`, a URL or a `redis.Redis`. If None: the plan, RUSH_URL, REDIS_URL, settings files,
        a server that ``rush server start`` started, else a private server that ends with this process.

    Raises
    ------
    ConnectionFailed
        The server cannot be reached, refuses the password, or is too old.
    """

    _keeper: threading.Thread | None

    def __init__(self, network_id: str | None = None, config: "RedisConfig | str | redis.Redis | None" = None) -> None:
        super().__init__(network_id, config)
        self._started: list[str] = []
        self._backends: dict[str, Backend] = {}
        self._replay = Replay()
        self._last_look = self._next_scan = 0.0
        self._forget_threads()

    def start_workers(
        self,
        worker_loop: Callable[..., Any],
        *,
        n_workers: int | None = None,
        backend: "str | Backend | None" = None,
        modules: Sequence[str] = (),
        by_value: Sequence[ModuleType | str] = (),
        log_levels: Mapping[str, str] | None = None,
        log_buffer_size: int | None = 0,
        message_log: "str | os.PathLike[str] | None" = None,
        output_log: "str | os.PathLike[str] | None" = None,
        heartbeat_period: float = 5.0,
        heartbeat_expire: float = 15.0,
        time_limit: float | None = None,
        grace_period: float = 10.0,
        drain_margin: float | None = None,
        idle_timeout: float | None = None,
        max_restarts: int = 0,
        fork: bool = True,
        loop_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Start workers that run a loop.

        The loop is called as ``worker_loop(worker, **loop_args, **kwargs)`` on each; its arguments are checked
        against its signature before anything starts. Further calls add workers, with the same loop or others.

        Parameters
        ----------
        worker_loop
            Any function of a `RushWorker`; it travels as a signed pickle.
        n_workers
            How many, 1 or more; else the plan's, else as many as the backend was given room for, else 1.
        backend
            Name of a backend or profile, or a `Backend`; else the plan's, else "local". Local workers outlive this
            process, unless their server is one that it started.
        modules
            Modules that the workers import before the loop.
        by_value
            Local modules that travel inside the pickle.
        log_levels, log_buffer_size
            What the workers log to the server, by logger, and how many records they collect first.
        message_log, output_log
            Folders for the files message_<worker_id>.log (stderr) and output_<worker_id>.log (stdout).
        heartbeat_period, heartbeat_expire
            Seconds between heartbeats, and after which one has run out.
        time_limit
            Seconds that the workers may run; job systems say it themselves.
        grace_period
            Seconds that a loop has to end once it was told to.
        drain_margin
            Seconds before the limit at which workers are told to stop; else 60 s or 5 % of the limit, whichever is
            longer, at most half of it.
        idle_timeout
            Seconds without a task after which a worker ends.
        max_restarts
            How often a supervisor starts a crashed loop anew.
        fork
            Fork loops off one process that has imported everything; False starts a fresh interpreter for each.
        loop_args, **kwargs
            Arguments of the loop; `loop_args` is for names that collide with options.

        Returns
        -------
        list of str
            The worker ids; `wait_for_workers` waits until they have registered.

        Raises
        ------
        ConfigError
            The server listens on loopback only, and the backend's workers run on other hosts; the message has the
            command that helps.
        BackendError
            Some could not be placed; the others run.
        """
        given = {name: value for name, value in locals().items() if name in LoopOptions.__dataclass_fields__}
        options = LoopOptions(**given)
        chosen = setting("backend", backend, "local")
        if chosen == "script":
            print(self._script(worker_loop, "worker", options))  # noqa: T201 - the plan asked for it
            return []
        return self._start(worker_loop, n_workers, find_backend(chosen), options, supervised=False)

    start_remote_workers = start_workers

    def start_local_workers(
        self,
        worker_loop: Callable[..., Any],
        *,
        n_workers: int | None = None,
        supervise: bool = True,
        loop_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Start workers on this machine; the options of `start_workers` may be given, too.

        Parameters
        ----------
        supervise
            Whether the workers end when this process does, however it ends.

        Returns
        -------
        list of str
            The worker ids.
        """
        options = options_among(kwargs, loop_args)
        return self._start(worker_loop, n_workers, Local(), options, supervised=supervise)

    def worker_script(
        self,
        worker_loop: Callable[..., Any],
        *,
        template: str = "worker",
        loop_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> str:
        """Give a script that starts one worker wherever it is run; run it n times for n workers.

        Parameters
        ----------
        template
            "worker" for any host, or the path of a template of one's own; "slurm", "pbs" or the name of a profile for a
            job script, to be edited and submitted by hand.
        loop_args, **kwargs
            Options of `start_workers` and arguments of the loop.

        Returns
        -------
        str
            The script. No secret stands in it: it names a file of mode 0600 that holds them.
        """
        return self._script(worker_loop, template, options_among(kwargs, loop_args))

    def wait_for_workers(
        self, n: int | None = None, worker_ids: Sequence[str] | None = None, timeout: float | None = None
    ) -> Self:
        """Wait until workers have registered: `n` of any, or of `worker_ids`, or all of `worker_ids`.

        Parameters
        ----------
        timeout
            Seconds; None takes the plan's `start_worker_timeout`, else waits for ever. 0 looks once.

        Raises
        ------
        TimeoutError
            With how many have come.
        WorkerStartError
            One died before it registered; the message ends with the last lines of its stderr.
        """
        if n is None and worker_ids is None:
            raise ValueError("wait_for_workers needs n, worker_ids or both")
        check_count(n, "n", optional=True)
        names = (
            None
            if worker_ids is None
            else [check_id(i, "worker_ids") for i in arguments.listed(worker_ids, "worker_ids", "ids")]
        )
        if names is not None and n is not None and n > len(names):
            raise ValueError(f"n is {n} but worker_ids has only {len(names)}")
        limit = arguments.seconds(timeout if timeout is not None else setting("start_worker_timeout", None))
        watching.wait_for_workers(self, n if n is not None else len(names or ()), names, limit)
        return self

    def stop_workers(self, type: str = "kill", worker_ids: Sequence[str] | None = None) -> Self:  # noqa: A002 - the manual's name
        """Stop workers.

        Parameters
        ----------
        type
            "terminate" lets the running task end: `worker.terminated` becomes true. "kill" ends the loops at once;
            their running tasks go back to the queue or fail, without using a try.
        worker_ids
            Which; all running ones if None. One that is not running is left out with a warning.
        """
        kind = StopKind(arguments.choices(type, "type", "stop type", STOP_TYPES)[0])
        names = None if worker_ids is None else [str(w) for w in arguments.listed(worker_ids, "worker_ids", "ids")]
        watching.stop_workers(self, kind, names, KILL_WAIT)
        return self

    def detect_lost_workers(self) -> list[str]:
        """Look for workers that are lost, and recover their tasks.

        A worker is lost when its process is seen dead from here, or when its heartbeat has run out; of the latter this
        call takes the second look itself.

        Returns
        -------
        list of str
            The workers that this call found lost.
        """
        return watching.detect_lost_workers(self)

    def keep_workers(self) -> list[str]:
        """Submit again the workers of jobs that were cut short, and submit what was held back at a submit limit.

        A manager does it by itself while it lives; this does it from any other process, as ``rush worker keep`` does.
        Only workers whose backend was told to ``resubmit`` come again, and only while the network has work: tasks that
        are queued or running, or workers that make their own.

        Returns
        -------
        list of str
            The workers that this call submitted.
        """
        watching.find_lost(self)
        return keeping.keep_going(self)

    def reset(self, workers: bool = True) -> Self:  # noqa: FBT001, FBT002 - the manual's signature
        """Stop the workers and delete everything that is stored under the network, in one step for a reader.

        What the workers have written stays on disk.

        Parameters
        ----------
        workers
            False deletes the tasks only and leaves the workers running.
        """
        self._session.open()
        if workers:
            with self._keeping:
                self._keeper = None
            watching.stop_workers(self, StopKind.KILL, None, KILL_WAIT)
        self._store.reset(new_epoch() if workers else "")
        self._session.forget_network()
        self._finished.reset()
        if workers:
            forget_secrets(self._network_id)
            self._store.epoch = ""
            self._started.clear()
        return self

    def read_log(self, worker_ids: Sequence[str] | None = None, time_difference: bool = False) -> "pd.DataFrame":  # noqa: FBT001, FBT002 - the manual's signature
        """Give what the workers have logged, sorted by time.

        Parameters
        ----------
        worker_ids
            Whose; all if None.
        time_difference
            Add a column of the seconds since the same worker's record before, 0 at its first.

        Returns
        -------
        pandas.DataFrame
            Columns worker_id, level, timestamp, logger, caller, msg.
        """
        names = None if worker_ids is None else arguments.listed(worker_ids, "worker_ids", "ids")
        return log_table(self._store.read_logs(), names, time_difference=time_difference)

    def print_log(self) -> Self:
        """Log what the workers have logged since the last call, under their own loggers and levels."""
        self._replay.log_new(self._store.read_logs)
        return self

    @property
    def placements(self) -> dict[str, Placement]:
        """Where the backends put the workers, by worker id."""
        places = sorted(self._store.placements(), key=lambda place: place.created or 0.0)
        return {worker: place for place in places for worker in place.worker_ids}

    @property
    def worker_info(self) -> "pd.DataFrame":
        """One row for each worker: worker_id, pid, hostname, heartbeat, state, reason, backend."""
        return watching.worker_table(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watching.stop_started(self, LEAVE_GRACE)

    def _start(
        self,
        loop: Callable[..., Any],
        n_workers: int | None,
        backend: Backend,
        options: LoopOptions,
        *,
        supervised: bool,
    ) -> list[str]:
        shares = placing.shares_for(n_workers, backend)
        self._check_reach(backend)
        loop_id = self._store_loop(loop, options, backend.name, backend.gpus_per_worker)
        commands = placing.commands_for(self, loop_id, shares, supervised=supervised)
        return placing.place(self, commands, backend, loop_id)

    def _forget_threads(self) -> None:
        self._polling = threading.Lock()
        self._keeping = threading.Lock()
        self._keeper = None

    def _check_reach(self, backend: Backend) -> None:
        """Refuse a server that only this host reaches to workers elsewhere."""
        if self._config.on_loopback:
            from rush.server import check_reach

            check_reach(self._config, backend.name, reaches_loopback=backend.reaches_loopback())

    def _remember(self, placed: Sequence[Placement], backend: Backend, loop_id: str) -> None:
        stored = [places.with_loop(place, loop_id) for place in placed]
        self._store.put_placements(stored)
        self._backends[backend.name] = backend
        for place in placed:
            self._started += place.worker_ids
        watching.watch(self, placed)
        keeping.watch(self, stored)

    def _store_loop(self, loop: Callable[..., Any], options: LoopOptions, backend: str, gpus: int = 0) -> str:
        check_options(options)
        arguments_ = bind_loop(loop, options, _OPTIONS)
        spec = make_spec(loop, arguments_, options, self._codec, backend, gpus)
        self._session.open()
        loop_id = new_loop_id()
        self._store.put_loop(loop_id, spec)
        return loop_id

    def _script(self, loop: Callable[..., Any], template: str, options: LoopOptions) -> str:
        return worker_script(self, loop, template, options)

    def _has_pending_workers(self) -> bool:
        return watching.has_pending_workers(self)

    def _look_after_workers(self, *, hurry: bool) -> float:
        return watching.look_after(self, hurry=hurry)

    def _backend_of(self, placement: Placement) -> Backend | None:
        """Give a backend that understands a placement, or None where there is none here."""
        if placement.backend not in self._backends:
            with contextlib.suppress(Exception):
                self._backends[placement.backend] = find_backend(placement.backend)
        return self._backends.get(placement.backend)

    def __setstate__(self, state: dict[str, Any]) -> None:
        Rush.__init__(self, state["network_id"], state["config"])


def rsh(network_id: str | None = None, config: "RedisConfig | str | redis.Redis | None" = None) -> Rush:
    """Give a manager of a network; see `Rush`."""
    return Rush(network_id, config)


__all__ = ["Rush", "rsh"]
