"""Shared memory between a supervisor and its loops: what is read and written too often for messages."""

import mmap
import os
import struct
import tempfile
import time

from rush.model import Cut

SIZE = 32
_GOING, _STOPPED, _BARRED, _LIMIT, _SIGNAL = range(5)
_CUTS = {_LIMIT: Cut.LIMIT, _SIGNAL: Cut.SIGNAL}
_TASK = struct.Struct("<Bxxxxxxxd")
_OFFSET = 8


class Slots:
    """One slot for each loop: whether it is told to stop, whether it runs a task, and since when.

    Parameters
    ----------
    count
        Number of loops.
    descriptor
        The file behind slots that another process has made; None makes new ones.
    """

    def __init__(self, count: int, descriptor: int | None = None) -> None:
        if descriptor is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(max(1, count) * SIZE)
                descriptor = os.dup(file.fileno())
        self.descriptor = descriptor
        self.count = count
        self._memory = mmap.mmap(descriptor, max(1, count) * SIZE)
        now = time.monotonic()
        for index in range(count):
            if _TASK.unpack_from(self._memory, index * SIZE + _OFFSET)[1] == 0:
                self.end_task(index, now)

    def bar(self, index: int) -> None:
        """Keep a loop from beginning that has been ordered and is not wanted any more."""
        self._memory[index * SIZE] = _BARRED

    def barred(self, index: int) -> bool:
        """Whether the loop must not begin."""
        return self._memory[index * SIZE] == _BARRED

    def tell_to_stop(self, index: int, cut: Cut | None = None) -> None:
        """Set the flag that makes `worker.terminated` true, and say what cuts the loop short."""
        self._memory[index * SIZE] = {Cut.LIMIT: _LIMIT, Cut.SIGNAL: _SIGNAL, None: _STOPPED}[cut]

    def clear(self, index: int) -> None:
        """Make the slot ready for a fresh loop."""
        self._memory[index * SIZE] = _GOING
        self.end_task(index, time.monotonic())

    def told_to_stop(self, index: int) -> bool:
        """Whether the loop is told to stop."""
        return self._memory[index * SIZE] != _GOING

    def cut(self, index: int) -> Cut | None:
        """Give what cuts the loop short; None where nothing does, or it was told to stop by somebody."""
        return _CUTS.get(self._memory[index * SIZE])

    def begin_task(self, index: int, now: float) -> None:
        """Note that a task began; `now` is of the monotonic clock, which processes share."""
        _TASK.pack_into(self._memory, index * SIZE + _OFFSET, 1, now)

    def end_task(self, index: int, now: float) -> None:
        """Note that the loop is between tasks."""
        _TASK.pack_into(self._memory, index * SIZE + _OFFSET, 0, now)

    def task(self, index: int) -> tuple[bool, float]:
        """Give whether a task runs, and since when that is so."""
        busy, since = _TASK.unpack_from(self._memory, index * SIZE + _OFFSET)
        return bool(busy), since
