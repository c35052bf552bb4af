"""The finished tasks as this process has read them: the log's tail goes into a cache, and nothing is read twice."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from rush.frames import FinishedCache, is_row
from rush.store.tasks import RECORDS_A_READ

if TYPE_CHECKING:
    from rush.codec import Codec

log = logging.getLogger("rush")


class FinishedTasks:
    """Follows the log of finished tasks.

    Each read begins at the last record that was consumed and compares it. If it differs or is gone, because the
    network was reset, failed over or lost its tail, the cache is dropped and the log read anew, with one warning.

    Parameters
    ----------
    read
        Reads records of the log by position, both ends included.
    codec
        Decodes them.
    """

    def __init__(self, read: Callable[[int, int], list[bytes]], codec: "Codec") -> None:
        self._read = read
        self._codec = codec
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next read begins at the first record."""
        with self._lock:
            self.cache = FinishedCache()
            self.seen = 0
            self._position = 0
            self._last = b""
            self._dropped: list[int] = []

    def follow(self, length: int | None = None) -> int:
        """Read what is new, up to `length` records in all, and give the number of rows that these records made."""
        with self._lock:
            while length is None or self._position < length:
                first = max(self._position - 1, 0)
                last = first + RECORDS_A_READ - 1
                records = self._read(first, last if length is None else min(last, length - 1))
                if self._position and (not records or records[0] != self._last):
                    self._start_over()
                    continue
                fresh = records[1:] if self._position else records
                if fresh:
                    self._consume(fresh)
                if not fresh or (len(records) < RECORDS_A_READ and length is None):
                    break
            return self.rows(length)

    def rows(self, length: int | None) -> int:
        """Give the number of rows that the first `length` records made."""
        if length is None or length >= self._position:
            return self.cache.n
        return length - sum(position < length for position in self._dropped)

    def _start_over(self) -> None:
        log.warning(
            "the log of finished tasks no longer holds the %d record(s) read before (reset, failover or lost writes); "
            "reading it anew",
            self._position,
        )
        self.reset()

    def _consume(self, records: list[bytes]) -> None:
        rows, dropped = self._codec.decode_rows(records)
        taken = self.cache.extend(rows) if not dropped else 0
        if dropped or taken < len(rows):
            self._consume_singly(records, rows if not dropped else None)
        self._position += len(records)
        self._last = records[-1]

    def _consume_singly(self, records: list[bytes], rows: "list[list[object]] | None") -> None:
        """Note which records made no row, so that rows can still be counted by position."""
        lost = 0
        for at, record in enumerate(records):
            decoded = self._codec.decode_rows([record])[0]
            valid = bool(decoded) and is_row(decoded[0])
            if valid and rows is None:
                valid = self.cache.extend(decoded) == 1
            if not valid:
                lost += 1
                self._dropped.append(self._position + at)
        log.warning("%d finished task(s) could not be read and are left out", lost)
