"""Typed columns that grow at their end, and the data frames that are laid over them."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

TEXT = pd.StringDtype(storage="python", na_value=np.nan)
FIRST_CAPACITY = 64

_FLOATS = frozenset({float, np.float64, np.float32, np.float16})
_INTS = frozenset({int, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32})
_BOOLS = frozenset({bool, np.bool_})
_IMMUTABLE = frozenset({str, bytes, int, float, bool, type(None), complex})


def _kind(values: Iterable[Any]) -> tuple[str, bool]:
    """Say what holds these values: 'f' floats, 'i' ints, 'b' booleans, 's' text, 'o' anything, '' nothing yet."""
    types = set(map(type, values))
    missing = type(None) in types
    types.discard(type(None))
    if not types:
        return "", missing
    if types <= _FLOATS:
        return "f", missing
    if types <= _INTS:
        return "i", missing
    if types <= _INTS | _FLOATS:
        return "f", missing
    if types <= _BOOLS:
        return "b", missing
    return ("s" if types == {str} else "o"), missing


class Column:
    """One column: a buffer of one type, and a mask where a type has no value for what is missing."""

    __slots__ = ("buffer", "kind", "mask", "mutable")

    def __init__(self, capacity: int, missing: int) -> None:
        self.kind = ""
        self.mutable = False
        self.buffer: np.ndarray[Any, Any] = np.empty(capacity, dtype=object)
        self.mask: np.ndarray[Any, Any] | None = np.ones(capacity, dtype=bool) if missing else None

    def grow(self, capacity: int, n: int) -> None:
        """Move to larger buffers."""
        self.buffer = _moved(self.buffer, capacity, n)
        if self.mask is not None:
            self.mask = _moved(self.mask, capacity, n)

    def put(self, n: int, values: list[Any]) -> bool:
        """Write values behind the first `n`; True if the column's type had to change for it."""
        kind, missing = _kind(values)
        end = n + len(values)
        changed = self._admit(kind, missing, n)
        if self.kind in {"f", ""}:
            self.buffer[n:end] = [np.nan if v is None else v for v in values] if missing and self.kind else values
        elif self.kind in {"i", "b"}:
            try:
                self.buffer[n:end] = [0 if v is None else v for v in values] if missing else values
            except OverflowError:
                self._become("o", n)
                return self.put(n, values) or True
            if self.mask is not None:
                self.mask[n:end] = [v is None for v in values] if missing else False
        elif self.kind == "s":
            self.buffer[n:end] = values
        else:
            for at, value in enumerate(values, n):
                self.buffer[at] = value
                if not self.mutable and type(value) not in _IMMUTABLE:
                    self.mutable = True
        return changed

    def _admit(self, kind: str, missing: bool, n: int) -> bool:  # noqa: FBT001 - with _kind
        """Make room for values of a kind among those that are there."""
        wanted = self.kind if kind in {"", self.kind} else kind
        if self.kind and wanted != self.kind:
            wanted = "f" if {self.kind, wanted} == {"i", "f"} else "o"
        had_missing = not self.kind and n > 0
        if wanted == "s" and (missing or had_missing):
            wanted = "o"
        changed = wanted != self.kind
        if changed:
            self._become(wanted, n)
        if self.kind in {"i", "b"} and (missing or had_missing) and self.mask is None:
            self.mask = np.zeros(len(self.buffer), dtype=bool)
            self.mask[:n] = had_missing
            changed = True
        return changed

    def _become(self, kind: str, n: int) -> None:
        """Change the type, with all that is there."""
        old, mask = self.buffer, self.mask
        empty = {"f": np.float64, "i": np.int64, "b": np.bool_}.get(kind, object)
        fresh: np.ndarray[Any, Any] = np.full(len(old), {"f": np.nan, "i": 0, "b": False, "s": ""}.get(kind), dtype=empty)
        if self.kind == "" and kind in {"i", "b"}:
            self.buffer, self.kind, self.mask = fresh, kind, None
            return
        if self.kind and n:
            fresh[:n] = old[:n]
            if mask is not None:
                fresh[:n][mask[:n]] = np.nan if kind == "f" else None
        self.buffer, self.kind, self.mask = fresh, kind, None

    def array(self) -> Any:
        """Give what a data frame takes without copying: an array over the whole buffer."""
        if self.kind == "s":
            return pd.arrays.StringArray(self.buffer, dtype=TEXT, copy=False)  # type: ignore[call-arg]
        if self.kind == "i" and self.mask is not None:
            return pd.arrays.IntegerArray(self.buffer, self.mask, copy=False)
        if self.kind == "b" and self.mask is not None:
            return pd.arrays.BooleanArray(self.buffer, self.mask, copy=False)
        return self.buffer


def constant_text(text: str, capacity: int) -> Column:
    """Make a column that has one text everywhere."""
    column = Column(capacity, 0)
    column.kind = "s"
    column.buffer = np.full(capacity, text, dtype=object)
    return column


def _moved(buffer: "np.ndarray[Any, Any]", capacity: int, n: int) -> "np.ndarray[Any, Any]":
    fresh = np.full(capacity, "", dtype=object) if buffer.dtype == object else np.zeros(capacity, dtype=buffer.dtype)
    fresh[:n] = buffer[:n]
    return fresh


def own_copy(value: Any) -> Any:
    """Copy what the holder of a cell could change."""
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is list:
        return [own_copy(item) for item in value]
    if kind is dict:
        return {name: own_copy(item) for name, item in value.items()}
    if kind is np.ndarray and value.dtype != object:
        return value.copy()
    return copy.deepcopy(value)


def object_series(values: Sequence[Any], index: pd.Index) -> "pd.Series[Any]":
    """Make a series of cells that pandas takes as they are."""
    cells = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        cells[at] = value
    return pd.Series(cells, index=index, dtype=object, copy=False)


def frame_over(labels: Sequence[str], columns: Sequence[Column], keys: "np.ndarray[Any, Any]") -> pd.DataFrame:
    """Lay a data frame over whole buffers, copying nothing."""
    index = pd.Index(pd.arrays.StringArray(keys, dtype=TEXT, copy=False), name="key", copy=False)  # type: ignore[call-arg]
    series = {
        at: pd.Series(array, index=index, copy=False, dtype=object if array is column.buffer and array.dtype == object else None)
        for at, column in enumerate(columns)
        for array in (column.array(),)
    }
    frame = pd.DataFrame(series, index=index, copy=False)
    frame.columns = pd.Index(list(labels), dtype=TEXT if labels else object)
    return frame
