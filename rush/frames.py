"""The columnar cache behind the data frames: finished tasks are read once and cost what is new, not what is there."""

import logging
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rush.spelling import unknown_name

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rush.columns import Column

log = logging.getLogger("rush")

FIELDS = ("xs", "ys", "xs_extra", "worker_id", "ys_extra", "condition")
# Where the fields stand in a row. An input keeps its name; a later group names a column that clashes after itself.
_GROUPS = {"xs": 2, "xs_extra": 3, "ys": 6, "ys_extra": 7}
_OPTIONAL = frozenset({dict, type(None)})
_TEXT = frozenset({str, type(None)})
_LARGEST_SEQ = 2**63 - 1

Row = Sequence[Any]
Name = tuple[str, str]


def is_row(row: Row) -> bool:
    """Whether a decoded record is the row of a task: order of creation, key, inputs, and dicts where they belong."""
    n = len(row)
    return (
        3 < n < 10
        and type(row[0]) is int
        and -_LARGEST_SEQ <= row[0] <= _LARGEST_SEQ
        and type(row[1]) is str
        and type(row[2]) is dict
        and type(row[3]) in _OPTIONAL
        and (n < 6 or type(row[5]) in _TEXT)
        and (n < 7 or type(row[6]) in _OPTIONAL)
        and (n < 8 or type(row[7]) in _OPTIONAL)
    )


class FinishedCache:
    """Tasks in typed columns, which grow by doubling.

    A frame is a slice of one data frame that lies over the buffers, so handing it out copies nothing; pandas copies
    when its holder writes. Cells that can be changed themselves, such as lists, are copied for each frame.

    Attributes
    ----------
    n
        Number of rows.
    """

    def __init__(self) -> None:
        self.n = 0
        self._capacity = 0
        self._columns: dict[Name, Column] = {}
        self._keys: np.ndarray[Any, Any] | None = None
        self._created: np.ndarray[Any, Any] | None = None
        self._anchors: dict[tuple[str | None, ...], tuple[pd.DataFrame, list[tuple[int, Column]]]] = {}
        self._lock = threading.RLock()

    def extend(self, rows: Iterable[Row]) -> int:
        """Append rows, and give how many were taken: what is not the row of a task is left out."""
        taken = [row for row in rows if is_row(row)]
        if not taken:
            return 0
        with self._lock:
            start, end = self.n, self.n + len(taken)
            keys, created = self._room_for(end)
            keys[start:end] = [row[1] for row in taken]
            created[start:end] = [row[0] for row in taken]
            filled: set[Name] = set()
            stale = False
            for name, values in _columns_of(taken):
                stale |= self._put(name, values)
                filled.add(name)
            if len(filled) < len(self._columns):
                for name, column in self._columns.items():
                    if name not in filled:
                        stale |= column.put(start, [None] * len(taken))
            self.n = end
            if stale:
                self._anchors.clear()
        return len(taken)

    def frame(
        self, fields: Sequence[str], start: int = 0, stop: int | None = None, *, state: str | None = None
    ) -> "pd.DataFrame":
        """Give rows `start` to `stop` as a data frame indexed by task key.

        Parameters
        ----------
        fields
            Groups of columns, in order: of "xs", "ys", "xs_extra", "ys_extra", "worker_id" and "condition".
        state
            Put a column `state` of this value first.

        Raises
        ------
        ValueError
            There is no such field.
        """
        with self._lock:
            end = self.n if stop is None else min(stop, self.n)
            anchor = self._anchors.get((state, *fields))
            if anchor is None:
                anchor = self._anchors[state, *fields] = self._lay(fields, state)
        frame = anchor[0].iloc[start:end]
        if anchor[1]:
            from rush.columns import own_cells

            for at, column in anchor[1]:
                own_cells(frame, at, column, start)
        return frame

    def keys(self, start: int = 0) -> list[str]:
        """Give the task keys."""
        return [] if self._keys is None else self._keys[start : self.n].tolist()

    def created(self) -> "np.ndarray[Any, Any]":
        """Give the order of creation of each row, as a read-only array of int64."""
        import numpy as np

        from rush.columns import read_only

        return np.empty(0, dtype=np.int64) if self._created is None else read_only(self._created[: self.n])

    def _room_for(self, end: int) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
        if self._keys is not None and self._created is not None and end <= self._capacity:
            return self._keys, self._created
        import numpy as np

        from rush.columns import FIRST_CAPACITY

        capacity = max(FIRST_CAPACITY, end + end // 4 if self.n == 0 else 2 * end)
        keys = np.empty(capacity, dtype=object)
        created = np.empty(capacity, dtype=np.int64)
        if self._keys is not None and self._created is not None:
            keys[: self.n] = self._keys[: self.n]
            created[: self.n] = self._created[: self.n]
        for column in self._columns.values():
            column.grow(capacity, self.n)
        self._keys, self._created, self._capacity = keys, created, capacity
        self._anchors.clear()
        return keys, created

    def _put(self, name: Name, values: list[Any]) -> bool:
        column = self._columns.get(name)
        if column is not None:
            return column.put(self.n, values)
        from rush.columns import Column

        column = self._columns[name] = Column(self._capacity, self.n)
        column.put(self.n, values)
        return True

    def _lay(self, fields: Sequence[str], state: str | None) -> "tuple[pd.DataFrame, list[tuple[int, Column]]]":
        """Lay a frame over the buffers; beside it stand the columns whose cells can be changed."""
        import numpy as np

        from rush.columns import constant_text, frame_over

        for field in fields:
            if field not in FIELDS:
                raise ValueError(unknown_name("field", field, FIELDS))
        labelled: dict[str, Column] = {}
        if state is not None:
            labelled["state"] = constant_text(state, self._capacity)
        for field in fields:
            for name, column in self._columns.items():
                if name[0] == field:
                    label = self._label(name)
                    while label in labelled:
                        label = f"{field}.{label}"
                    labelled[label] = column
        keys = np.empty(0, dtype=object) if self._keys is None else self._keys
        frame = frame_over(list(labelled), list(labelled.values()), keys, shared=True)
        return frame, [(at, column) for at, column in enumerate(labelled.values()) if column.mutable]

    def _label(self, name: Name) -> str:
        group, inner = name
        if group not in _GROUPS:
            return group
        earlier = list(_GROUPS)[: list(_GROUPS).index(group)]
        return f"{group}.{inner}" if any((other, inner) in self._columns for other in earlier) else str(inner)


def _columns_of(rows: list[Row]) -> "Iterable[tuple[Name, list[Any]]]":
    """Turn rows into columns; a column stands for what at least one of the rows has, and for the workers."""
    for group, place in _GROUPS.items():
        dicts = [row[place] if len(row) > place else None for row in rows]
        first = next(filter(None, dicts), None)
        if first is None:
            continue
        if None not in dicts and len(set(map(tuple, dicts))) == 1:  # type: ignore[arg-type]  # none is None here
            for inner in first:
                yield (group, inner), [d[inner] for d in dicts]  # type: ignore[index]  # none is None here
        else:
            for inner in dict.fromkeys(inner for d in dicts if d for inner in d):
                yield (group, inner), [d.get(inner) if d else None for d in dicts]
    workers = [row[5] if len(row) > 5 else None for row in rows]
    known = {worker: worker for worker in workers}
    yield ("worker_id", ""), [known[worker] for worker in workers]  # one str for each worker, not for each row
    conditions = [row[8] if len(row) > 8 else None for row in rows]
    if any(condition is not None for condition in conditions):
        yield ("condition", ""), conditions


def frame_of(rows: Sequence[Row], fields: Sequence[str], state: str | None = None) -> "pd.DataFrame":
    """Give rows that are not cached as a data frame; `state` makes a first column of that name and value."""
    cache = FinishedCache()
    lost = len(rows) - cache.extend(rows)
    if lost:
        log.warning("%d task(s) could not be read and are left out", lost)
    return cache.frame(fields, state=state)


def concat(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Put frames one under the other; what one has no column for is missing in its rows."""
    filled = [frame for frame in frames if len(frame)]
    if len(filled) == 1:
        return filled[0]
    from rush.columns import joined

    return joined(filled or frames)
