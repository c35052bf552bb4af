"""The columnar cache behind the data frames: finished tasks are read once and cost what is new, not what is there."""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rush.columns import Column

log = logging.getLogger("rush")

GROUPS = {"xs": 2, "xs_extra": 3, "ys": 6, "ys_extra": 7}
_PLACES = {"worker_id": 5, "condition": 8}
_WIDTH = 9

Row = Sequence[Any]


class FinishedCache:
    """Tasks in typed columns, which grow by doubling.

    A frame is a slice of one data frame that lies over the buffers, so handing it out copies nothing; pandas copies
    when its holder writes. Cells that can be changed themselves, such as lists, are copied for each frame.
    """

    def __init__(self) -> None:
        self.n = 0
        self._capacity = 0
        self._columns: dict[tuple[str, str], Column] = {}
        self._keys: np.ndarray[Any, Any] | None = None
        self._created: np.ndarray[Any, Any] | None = None
        self._anchors: dict[tuple[str | None, ...], tuple[pd.DataFrame, list[tuple[int, Column]]]] = {}
        self._retired: list[pd.DataFrame] = []
        self._filled: set[tuple[str, str]] = set()

    def extend(self, rows: Iterable[Row]) -> int:
        """Append rows, and give how many were taken: those whose inputs are not a dict are left out."""
        taken = [row for row in rows if len(row) > 3 and type(row[2]) is dict and type(row[1]) is str]
        if not taken:
            return 0
        end = self.n + len(taken)
        self._make_room(end)
        if self._keys is None or self._created is None:
            raise AssertionError("room was made")
        self._keys[self.n : end] = [row[1] for row in taken]
        self._created[self.n : end] = [row[0] if type(row[0]) is int else 0 for row in taken]
        stale = False
        for group, place in GROUPS.items():
            dicts = [row[place] if len(row) > place and row[place] else None for row in taken]
            if any(dicts):
                stale |= self._extend_group(group, dicts)
        for name, place in _PLACES.items():
            values = [row[place] if len(row) > place else None for row in taken]
            if name == "worker_id" or any(value is not None for value in values):
                stale |= self._put(name, "", values)
        stale |= self._pad(end)
        self.n = end
        if stale:
            self._retire()
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
        """
        end = self.n if stop is None else min(stop, self.n)
        anchor, mutable = self._anchor(tuple(fields), state)
        frame = anchor.iloc[start:end]
        if mutable and end > start:
            from rush.columns import object_series, own_copy

            for at, column in mutable:
                cells = [own_copy(value) for value in column.buffer[start:end]]
                frame.isetitem(at, object_series(cells, frame.index))
        return frame

    def keys(self, start: int = 0) -> list[str]:
        """Give the task keys."""
        return [] if self._keys is None else self._keys[start : self.n].tolist()

    def created(self) -> "np.ndarray[Any, Any]":
        """Give the order of creation of each row, as a read-only array of int64."""
        import numpy as np

        if self._created is None:
            return np.empty(0, dtype=np.int64)
        view = self._created[: self.n]
        view.flags.writeable = False
        return view

    def _make_room(self, end: int) -> None:
        import numpy as np

        from rush.columns import FIRST_CAPACITY

        if end <= self._capacity:
            return
        capacity = max(FIRST_CAPACITY, end + end // 4 if self.n == 0 else 2 * end)
        keys = np.full(capacity, "", dtype=object)
        created = np.zeros(capacity, dtype=np.int64)
        if self._keys is not None and self._created is not None:
            keys[: self.n] = self._keys[: self.n]
            created[: self.n] = self._created[: self.n]
        self._keys, self._created, self._capacity = keys, created, capacity
        for column in self._columns.values():
            column.grow(capacity, self.n)
        self._anchors.clear()
        self._retired.clear()

    def _extend_group(self, group: str, dicts: "list[dict[str, Any] | None]") -> bool:
        first = next(d for d in dicts if d)
        names: Iterable[str] = first
        if any(d is None or d.keys() != first.keys() for d in dicts):
            names = dict.fromkeys(name for d in dicts if d for name in d)
            stale = False
            for name in names:
                stale |= self._put(group, name, [None if d is None else d.get(name) for d in dicts])
            return stale
        stale = False
        for name in names:
            stale |= self._put(group, name, [d[name] for d in dicts])  # type: ignore[index]
        return stale

    def _put(self, group: str, name: str, values: list[Any]) -> bool:
        self._filled.add((group, name))
        column = self._columns.get((group, name))
        if column is None:
            from rush.columns import Column

            column = self._columns[group, name] = Column(self._capacity, self.n)
            column.put(self.n, values)
            return True
        return column.put(self.n, values)

    def _pad(self, end: int) -> bool:
        """Fill the new rows of columns that none of them had."""
        stale = False
        if len(self._filled) != len(self._columns):
            for key, column in self._columns.items():
                if key not in self._filled:
                    stale |= column.put(self.n, [None] * (end - self.n))
        self._filled.clear()
        return stale

    def _retire(self) -> None:
        """Lay new frames over the buffers from now on; the old ones stay, so that pandas still sees them shared."""
        self._retired += [anchor for anchor, _ in self._anchors.values()]
        self._anchors.clear()

    def _anchor(self, fields: tuple[str, ...], state: str | None) -> "tuple[pd.DataFrame, list[tuple[int, Column]]]":
        found = self._anchors.get((state, *fields))
        if found is None:
            found = self._anchors[state, *fields] = self._lay(fields, state)
        return found

    def _lay(self, fields: tuple[str, ...], state: str | None) -> "tuple[pd.DataFrame, list[tuple[int, Column]]]":
        import numpy as np

        from rush.columns import constant_text, frame_over

        groups = {field: [key for key in self._columns if key[0] == field] for field in fields}
        chosen = [key for field in fields for key in groups[field]]
        columns = [self._columns[key] for key in chosen]
        keys = np.empty(0, dtype=object) if self._keys is None else self._keys
        labels = [self._label(*key) for key in chosen]
        if state is not None:
            labels.insert(0, "state")
            columns.insert(0, constant_text(state, self._capacity))
        frame = frame_over(labels, columns, keys)
        return frame, [(at, column) for at, column in enumerate(columns) if column.mutable]

    def _label(self, group: str, name: str) -> str:
        """Give a column's name: an input keeps its own, one that clashes with it is named with its group."""
        if group in _PLACES:
            return group
        for other in GROUPS:
            if other == group:
                return name
            if (other, name) in self._columns:
                return f"{group}.{name}"
        return name


def frame_of(rows: Sequence[Row], fields: Sequence[str], states: Sequence[str] | None = None) -> "pd.DataFrame":
    """Give rows that are not cached as a data frame; `states` makes a first column `state`."""
    cache = FinishedCache()
    if cache.extend(rows) < len(rows):
        log.warning("task(s) without inputs are left out")
        states = None if states is None else [s for s, row in zip(states, rows, strict=True) if type(row[2]) is dict]
    frame = cache.frame(fields)
    if states is not None:
        frame.insert(0, "state", _state_values(states))
    return frame


def concat(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Put frames one under the other; what one has no column for is missing in its rows."""
    import pandas as pd

    filled = [frame for frame in frames if len(frame)]
    if len(filled) == 1:
        return filled[0]
    if not filled:
        return frames[0] if frames else pd.DataFrame()
    return pd.concat(filled)


def _state_values(states: Sequence[str]) -> Any:
    import pandas as pd

    from rush.columns import TEXT

    return pd.array(list(states), dtype=TEXT)
