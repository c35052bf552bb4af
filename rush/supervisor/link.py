"""A loop's line to its supervisor."""

import socket
import time

from rush.model import Cut
from rush.supervisor.messages import tell
from rush.supervisor.slots import Slots


class Link:
    """What a `RushWorker` under a supervisor knows, and tells.

    Attributes
    ----------
    token
        Shows the store that a fresh loop takes the place of one that ended.
    supervisor_id, backend
        Who runs the loop, and who placed it.
    ends_at
        When the job's time is over, in seconds since the epoch; None for no limit.
    """

    def __init__(
        self,
        slots: Slots,
        index: int,
        news: socket.socket,
        *,
        token: str,
        supervisor_id: str,
        backend: str | None,
        ends_at: float | None,
    ) -> None:
        self.token = token
        self.supervisor_id = supervisor_id
        self.backend = backend
        self.ends_at = ends_at
        self._slots = slots
        self._index = index
        self._news = news
        self._timed: set[str] = set()

    @property
    def terminated(self) -> bool:
        """Whether the loop is told to stop."""
        return self._slots.told_to_stop(self._index)

    @property
    def cut(self) -> Cut | None:
        """What cuts the loop short."""
        return self._slots.cut(self._index)

    def registered(self, incarnation: int) -> None:
        """Have the supervisor send the heartbeat."""
        tell(self._news, "registered", index=self._index, incarnation=incarnation)

    def started(self, key: str, timeout: float | None) -> None:
        """Note that a task began, and have the supervisor watch over its time limit."""
        now = time.monotonic()
        self._slots.begin_task(self._index, now)
        if timeout is not None:
            self._timed.add(str(key))
            tell(self._news, "deadline", index=self._index, key=str(key), at=now + timeout, timeout=timeout)

    def ended(self, key: str) -> None:
        """Note that a task has ended."""
        self._slots.end_task(self._index, time.monotonic())
        if self._timed and key in self._timed:
            self._timed.discard(str(key))
            tell(self._news, "over", index=self._index, key=str(key))
