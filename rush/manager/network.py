"""A process's hold on a network: its connection, its session, and what both survive."""

import os
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from rush.codec import Codec
from rush.config import RedisConfig, as_config, signing_key_for
from rush.errors import ConfigError
from rush.keys import check_id
from rush.names import new_network_id
from rush.plan import find_config
from rush.store import Counts, Session, Store, Tasks

if TYPE_CHECKING:
    import redis

_networks: "weakref.WeakSet[Network]" = weakref.WeakSet()


def _after_fork() -> None:
    for network in list(_networks):
        network._session.after_fork()
        network._tasks = Tasks(network._session)
        network._forget_threads()


os.register_at_fork(after_in_child=_after_fork)


class Network:
    """What a manager and a worker have in common before they touch a task."""

    def __init__(self, network_id: str | None = None, config: "RedisConfig | str | redis.Redis | None" = None) -> None:
        self._network_id = check_id(network_id, "network_id") if network_id is not None else new_network_id()
        self._config = find_config(config)
        self._connect()
        self._store.check_server()

    def _connect(self) -> None:
        self._codec = Codec(lambda: signing_key_for(self._config))
        self._store = Store(self._config, self._network_id)
        self._session = self._make_session()
        self._tasks = Tasks(self._session)
        _networks.add(self)

    def _make_session(self) -> Session:
        return Session(self._store)

    def _forget_threads(self) -> None:
        """Let go of what belongs to threads that a forked child does not have; there is nothing here."""

    @property
    def network_id(self) -> str:
        """Identifier of the network."""
        return self._network_id

    @property
    def config(self) -> RedisConfig:
        """How the server is reached; after setting it, `reconnect` makes it hold."""
        return self._config

    @config.setter
    def config(self, value: "RedisConfig | str | redis.Redis") -> None:
        self._config = as_config(value)

    @property
    def connector(self) -> "redis.Redis":
        """A redis-py client of the network's server, for commands of your own."""
        from rush.store.connection import client

        return client(self._config, self._store.keys.meta)

    def reconnect(self) -> Self:
        """Connect to the server anew; also happens by itself after unpickling, a fork, and a broken connection."""
        self._session.close()
        self._store.close()
        self._connect()
        return self

    @property
    def _counts(self) -> Counts:
        return self._store.counts()

    @property
    def n_queued_tasks(self) -> int:
        """Number of queued tasks."""
        return self._counts.queued

    @property
    def n_running_tasks(self) -> int:
        """Number of running tasks."""
        return self._counts.running

    @property
    def n_finished_tasks(self) -> int:
        """Number of finished tasks."""
        return self._counts.finished

    @property
    def n_failed_tasks(self) -> int:
        """Number of failed tasks."""
        return self._counts.failed

    @property
    def n_tasks(self) -> int:
        """Number of all tasks, counted in one step."""
        counts = self._counts
        return counts.queued + counts.running + counts.finished + counts.failed

    @property
    def n_workers(self) -> int:
        """Number of workers that ever registered."""
        return self._counts.workers

    @property
    def n_running_workers(self) -> int:
        """Number of running workers."""
        return self._counts.running_workers

    @property
    def n_terminated_workers(self) -> int:
        """Number of workers that have ended, the lost ones included."""
        counts = self._counts
        return counts.workers - counts.running_workers

    @property
    def worker_ids(self) -> list[str]:
        """Ids of all workers that ever registered, in that order."""
        return [info.worker_id for info in self._store.workers()]

    @property
    def running_worker_ids(self) -> list[str]:
        """Ids of the running workers."""
        running = self._store.running_workers()
        return [worker for worker in self.worker_ids if worker in running]

    @property
    def terminated_worker_ids(self) -> list[str]:
        """Ids of the workers that have ended, the lost ones included."""
        running = self._store.running_workers()
        return [worker for worker in self.worker_ids if worker not in running]

    def _secret(self) -> bytes:
        """Give what a worker needs to reach the server and to trust what it reads there."""
        try:
            key = signing_key_for(self._config)
        except ConfigError:
            key = None
        return replace(self._config, signing_key=key).to_secret()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._network_id!r} at {self._config.address}>"

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self._summary().items())

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(f"<tr><th>{escape(n)}</th><td>{escape(str(v))}</td></tr>" for n, v in self._summary().items())
        return f"<table>{rows}</table>"

    def _summary(self) -> dict[str, object]:
        counts = self._counts
        return {
            "Rush network": self._network_id,
            "Server": self._config.address,
            "Running workers": counts.running_workers,
            "Ended workers": counts.workers - counts.running_workers,
            "Queued tasks": counts.queued,
            "Running tasks": counts.running,
            "Finished tasks": counts.finished,
            "Failed tasks": counts.failed,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"network_id": self._network_id, "config": self._config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["network_id"], state["config"])  # type: ignore[misc]

    def __copy__(self) -> Self:
        return type(self)(self._network_id, self._config)
