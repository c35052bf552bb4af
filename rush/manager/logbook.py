"""What the workers have logged: as a table, and logged again here."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from rush.logs import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("rush")


def _read(records: Sequence[bytes]) -> list[list[Any]]:
    rows, lost = [], 0
    for record in records:
        try:
            row = msgspec.msgpack.decode(record)
        except msgspec.DecodeError:
            row = None
        if isinstance(row, list) and len(row) == len(COLUMNS) and isinstance(row[2], int):
            rows.append(row)
        else:
            lost += 1
    if lost:
        log.warning("%d log record(s) could not be read and are left out", lost)
    return rows


def log_table(records: Sequence[bytes], worker_ids: Sequence[str] | None, *, time_difference: bool) -> "pd.DataFrame":
    """Give the records of these workers, or of all, sorted by time."""
    import pandas as pd

    rows = [row for row in _read(records) if worker_ids is None or row[0] in worker_ids]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["timestamp"] = pd.to_datetime(table["timestamp"], unit="ms")
    table = table.sort_values("timestamp", kind="stable", ignore_index=True)
    if time_difference:
        table["time_difference"] = table.groupby("worker_id")["timestamp"].diff().dt.total_seconds().fillna(0.0)
    return table


class Replay:
    """Logs the workers' records here, each once.

    Each reading begins at the last record that was logged and compares it: if it differs or is gone, the network was
    reset, and all records are new.
    """

    def __init__(self) -> None:
        self._logged = 0
        self._last = b""

    def log_new(self, read: Callable[[int], list[bytes]]) -> None:
        """Log what is new; `read` gives the records from a position on."""
        records = read(max(self._logged - 1, 0))
        if self._logged and records and records[0] == self._last:
            del records[0]
        elif self._logged:
            self._logged, records = 0, read(0)
        if records:
            self._logged += len(records)
            self._last = records[-1]
            _log_again(records)


def _log_again(records: Sequence[bytes]) -> None:
    """Log records, each with its worker and time, under its own logger and level."""
    from datetime import UTC, datetime

    known = logging.getLevelNamesMapping()
    for worker, level, timestamp, logger, _caller, text in sorted(_read(records), key=lambda row: row[2]):
        when = datetime.fromtimestamp(timestamp / 1000, UTC).astimezone()
        logging.getLogger(logger).log(
            known.get(level, logging.INFO), "[%s] [%s] %s", worker, when.isoformat(" ", "milliseconds"), text
        )
