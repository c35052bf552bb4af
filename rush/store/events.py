"""Waiting without polling: for tasks, for events, for orders."""

import time
from collections.abc import Callable, Iterator
from typing import cast

from rush.store.channel import Channel, persist
from rush.store.connection import Packed, pack
from rush.store.scripts import script
from rush.store.store import Store

LISTEN = 20.0
"""Seconds for which a listener announces itself, and the longest it blocks at a time."""

_SLACK = 5.0


def remaining(deadline: float | None, most: float) -> float:
    """Give the seconds until a deadline (None: never), at most `most`, at least 0."""
    if deadline is None:
        return most
    return min(most, max(0.0, deadline - time.monotonic()))


def deadline_after(timeout: float | None) -> float | None:
    """Turn a timeout in seconds, None for ever, into a time of the monotonic clock."""
    return None if timeout is None else time.monotonic() + timeout


def wait_for_bell(store: Store, worker_id: str | None, timeout: float) -> bytes | None:
    """Block until a task may be in the queue or the worker is poked; b"bell", b"poke" or None at the timeout.

    No task is taken here, so a process that dies in it takes none along.
    """
    keys = [store.keys.bell]
    if worker_id is not None:
        keys.append(store.keys.poke(worker_id))
    reply = store.readers.ask("BLPOP", *keys, f"{max(timeout, 0.001):.3f}", timeout=timeout + _SLACK)
    if reply is None:
        return None
    return b"bell" if reply[0] == keys[0] else b"poke"


class Listener:
    """Follows a network's events: anything that finishes, fails, registers or ends."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: bytes | None = None
        self._until = 0.0

    def announce(self) -> None:
        """Say that somebody listens. What happens from now on wakes the next `wait`."""
        now = time.monotonic()
        if now < self._until:
            return
        last = self._store.readers.run(script("listen"), 1, self._store.keys.events, round(2 * LISTEN * 1000))
        self._until = now + LISTEN
        if self._last is None:
            self._last = last

    def wait(self, timeout: float) -> None:
        """Block until something happened since the last `wait` or the first `announce`, or the timeout is over."""
        self.announce()
        block = max(1, round(min(timeout, LISTEN) * 1000))
        reply = self._store.readers.ask(
            *("XREAD", "BLOCK", block, "STREAMS", self._store.keys.events, self._last or "0-0"),
            timeout=block / 1000 + _SLACK,
        )
        if reply:
            self._last = reply[0][1][-1][0]

    def until(self, done: Callable[[], bool], timeout: float | None, most: float = LISTEN) -> Iterator[bool]:
        """Yield False after each event until `done`, then True; ends without True at the timeout."""
        deadline = deadline_after(timeout)
        self.announce()
        while not done():
            left = remaining(deadline, most)
            if left <= 0:
                return
            self.wait(left)
            yield False
        yield True


class OrderChannel:
    """A supervisor's ear: a blocking pop on a connection whose descriptor can be waited on among others."""

    def __init__(self, store: Store, supervisor_id: str) -> None:
        self._channel = Channel(store.config, store.keys.meta)
        self._packed = pack(cast("Packed", ("BLPOP", store.keys.poke(supervisor_id), "0")))
        self._store = store

    def arm(self) -> None:
        """Send the blocking pop."""
        persist(self._store.config, lambda: self._channel.send(self._packed))

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when the supervisor is poked, or the connection breaks."""
        return self._channel.fileno()

    def drain(self) -> bool:
        """Read the reply: True if poked. Raises ConnectionFailed when the connection broke: arm it again."""

        def read() -> bool:
            return self._channel.read() is not None

        return persist(self._store.config, read)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
