"""`RushWorker`: a worker's side of its network."""

import math
import os
import platform
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from rush.config import node_name
from rush.keys import check_id
from rush.manager import Rush
from rush.manager.loops import rush_version
from rush.model import Ending, WorkerInfo
from rush.names import new_worker_id
from rush.store import Registration, Session
from rush.worker.queue import QueuedTask, iterate

if TYPE_CHECKING:
    import redis

    from rush.config import RedisConfig
    from rush.supervisor.link import Link
    from rush.supervisor.watch import Heartbeat


class RushWorker(Rush):
    """A worker of a network, with all that a manager can do.

    It registers as running when it is made. Worker loops are handed one; make one by hand to turn any process into a
    worker.

    Parameters
    ----------
    network_id
        Identifier of the network.
    config
        The server, as for `Rush`.
    worker_id
        Identifier of the worker; made if None.
    heartbeat_period, heartbeat_expire
        Seconds between heartbeats, which a small process of its own sends, and after which they have run out (three
        periods by default). None for no heartbeat: if this process dies, nobody notices.

    Raises
    ------
    ValueError
        The id is taken by a running worker, or a heartbeat setting is wrong.
    """

    def __init__(
        self,
        network_id: str,
        config: "RedisConfig | str | redis.Redis | None" = None,
        worker_id: str | None = None,
        heartbeat_period: float | None = None,
        heartbeat_expire: float | None = None,
        *,
        _link: "Link | None" = None,
    ) -> None:
        self._worker_id = new_worker_id() if worker_id is None else check_id(worker_id, "worker_id")
        self._period, self._expire = _heartbeat(heartbeat_period, heartbeat_expire)
        self._link = _link
        self._heartbeat: Heartbeat | None = None
        self._token = secrets.token_hex(8) if _link is None else _link.token
        super().__init__(check_id(network_id, "network_id"), config)
        self._session.open()

    @property
    def worker_id(self) -> str:
        """Identifier of the worker."""
        return self._worker_id

    @property
    def heartbeat(self) -> "Heartbeat | None":
        """The process that sends the heartbeat of a worker made by hand; None where a supervisor does, or nobody."""
        return self._heartbeat

    @property
    def terminated(self) -> bool:
        """Whether the worker is told to stop: check it in the loop. Under a supervisor it costs no round trip."""
        if self._link is not None:
            return self._link.terminated
        return self._store.stop_order(self._worker_id) is not None

    @property
    def remaining_time(self) -> float | None:
        """Seconds left before the time limit of the job; None where there is no limit."""
        if self._link is None or self._link.ends_at is None:
            return None
        return max(0.0, self._link.ends_at - time.time())

    def set_terminated(self) -> Self:
        """Mark the worker as terminated: its last step. Tasks that it still runs go back to the queue or fail."""
        incarnation = self._session.incarnation
        if incarnation is not None:
            cut = None if self._link is None else self._link.cut
            self._store.bury(self._worker_id, incarnation, Ending("its loop returned", uses_try=False, cut=cut))
        if self._heartbeat is not None:
            self._heartbeat.close()
            self._heartbeat = None
        return self

    def tasks(  # type: ignore[override] # on a worker the name is the iterator's
        self, *, prefetch: int = 0, timeout: float | None = 1.0
    ) -> Iterator[QueuedTask]:
        """Iterate over tasks from the queue: the fastest way to work through one.

        ``for task in worker.tasks(): task.finish({"y": f(**task.xs)})`` hands in each result and takes the next task
        in one round trip. A task that is neither finished nor failed when the next is asked for fails, and so does one
        whose body raises. The iterator ends when the queue stays empty for `timeout` seconds, or when the worker is
        told to stop.

        Parameters
        ----------
        prefetch
            1 keeps one request in flight: the result is sent at once and its reply read while the next task runs,
            which is waiting here already. A task that waits goes back without using a try when the worker is lost.
        timeout
            Seconds to wait at an empty queue; 0 does not wait, None waits for ever.
        """
        if prefetch not in (0, 1):
            raise ValueError(f"prefetch must be 0 or 1, got {prefetch!r}")
        return iterate(self, prefetch=bool(prefetch), timeout=timeout)

    def _make_session(self) -> Session:
        link = self._link
        info = WorkerInfo(
            worker_id=self._worker_id,
            pid=os.getpid(),
            hostname=node_name(),
            heartbeat=self._expire is not None,
            supervisor=None if link is None else link.supervisor_id,
            backend=None if link is None else link.backend,
            rush=rush_version(),
            python=platform.python_version(),
            registered=time.time(),
        )
        return Session(self._store, Registration(info, self._token, self._expire, self._announce))

    def _announce(self, incarnation: int) -> None:
        """Tell whoever sends the heartbeat under which incarnation to send it."""
        if self._link is not None:
            self._link.registered(incarnation)
        elif self._period is not None and self._expire is not None:
            if self._heartbeat is None:
                from rush.supervisor.watch import start_heartbeat

                self._heartbeat = start_heartbeat(
                    self._store, self._worker_id, incarnation, os.getpid(), self._period, self._expire
                )
            else:
                self._heartbeat.renew(incarnation)

    @property
    def _own_worker_id(self) -> str | None:
        return self._worker_id

    @property
    def _told_to_stop(self) -> bool:
        return self.terminated

    def _began(self, key: str, timeout: float | None) -> None:
        if self._link is not None:
            self._link.started(key, timeout)

    def _over(self, keys: Sequence[str]) -> None:
        if self._link is not None:
            for key in keys:
                self._link.ended(key)

    def __exit__(self, *_: object) -> None:
        self.set_terminated()

    def __repr__(self) -> str:
        return f"<RushWorker {self._worker_id!r} of network {self._network_id!r} at {self._config.address}>"

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError(
            "a RushWorker cannot be copied or pickled: it is one process's; use rush.rsh(network_id) elsewhere"
        )

    def __copy__(self) -> Self:
        self.__getstate__()
        return self


def _heartbeat(period: float | None, expire: float | None) -> tuple[float | None, float | None]:
    if period is None:
        if expire is not None:
            raise ValueError("heartbeat_expire needs heartbeat_period")
        return None, None
    for name, value in (("heartbeat_period", period), ("heartbeat_expire", expire)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number of seconds, got {value!r}")
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be more than 0 seconds, got {value!r}")
    if expire is None:
        expire = 3 * period
    if expire < period:
        raise ValueError(f"heartbeat_expire ({expire:g} s) must not be less than heartbeat_period ({period:g} s)")
    return float(period), float(expire)
