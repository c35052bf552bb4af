"""Typed columns that grow at their end, and the data frames that are laid over them."""

import copy
import datetime as dt
import decimal
import pathlib
import uuid
from collections.abc import Collection, Sequence
from itertools import repeat
from operator import is_
from typing import Any

import numpy as np
import pandas as pd

TEXT = pd.StringDtype(storage="python", na_value=np.nan)
FIRST_CAPACITY = 64

_FLOATS = frozenset({float, np.float64, np.float32, np.float16})
_INTS = frozenset({int, np.int64, np.int32, np.int16, np.int8, np.uint8, np.uint16, np.uint32})
_BOOLS = frozenset({bool, np.bool_})
_IMMUTABLE = frozenset(
    {str, bytes, int, float, bool, type(None), complex, dt.date, dt.time, dt.datetime, dt.timedelta, uuid.UUID}
    | {decimal.Decimal, pathlib.PosixPath}
)
_DTYPES: dict[str, Any] = {"f": np.float64, "i": np.int64, "b": np.bool_}
_FILLS: dict[str, Any] = {"f": np.nan, "i": 0, "b": False, "s": ""}
_KINDS = {"float64": "f", "int64": "i", "Int64": "i", "bool": "b", "boolean": "b", "object": "o"}

Array = np.ndarray[Any, Any]

# Pandas copies before it writes to what a second object refers to. This one refers to every shared buffer and never
# goes away, so whatever frames are left over a buffer, none of them writes into it.
_WITNESS = pd.Index([])


def _kind(values: Collection[Any]) -> tuple[str, bool]:
    """Say what holds these values: 'f' floats, 'i' ints, 'b' booleans, 's' text, 'o' anything, '' nothing yet."""
    types = set(map(type, values))
    missing = type(None) in types
    types.discard(type(None))
    if not types:
        return "", missing
    if types <= _INTS | _FLOATS:
        if int in types and any(type(value) is int and not -(2**63) <= value < 2**63 for value in values):
            return "o", missing
        return ("i" if types <= _INTS else "f"), missing
    if types <= _BOOLS:
        return "b", missing
    return ("s" if types == {str} else "o"), missing


def _common(first: str, second: str) -> str:
    """Give the kind that holds values of both kinds."""
    if first == second or not second:
        return first
    if not first:
        return second
    return "f" if {first, second} == {"i", "f"} else "o"


class Column:
    """One column: a buffer of one type, and a mask of what is missing in numbers (NaN may also be a value).

    Parameters
    ----------
    capacity
        Number of rows there is room for.
    missing
        Number of rows that are there without a value of this column.
    """

    __slots__ = ("buffer", "kind", "mask", "mutable")

    def __init__(self, capacity: int, missing: int = 0) -> None:
        self.kind = ""
        self.mutable = False
        self.buffer: Array = np.empty(capacity, dtype=object)
        self.mask: Array | None = np.ones(capacity, dtype=bool) if missing else None

    def grow(self, capacity: int, n: int) -> None:
        """Move to larger buffers; room that nobody has written to takes no memory."""
        fresh: Array = np.empty(capacity, dtype=self.buffer.dtype)
        fresh[:n] = self.buffer[:n]
        self.buffer = fresh
        if self.mask is not None:
            mask = np.zeros(capacity, dtype=bool)
            mask[:n] = self.mask[:n]
            self.mask = mask

    def put(self, n: int, values: list[Any]) -> bool:
        """Write values behind the first `n`; True if the column's type had to change for it."""
        kind, missing = _kind(values)
        end = n + len(values)
        changed = self._admit(kind, n, missing=missing)
        try:
            self._write(n, end, values, missing=missing)
        except OverflowError:
            # An integer that neither int64 nor float64 holds.
            self._become("o", n)
            self._write(n, end, values, missing=missing)
            return True
        return changed

    def array(self, *, shared: bool) -> Any:
        """Give what a data frame takes without copying: an array over the whole buffer, read-only when shared."""
        buffer, mask = self.buffer, self.mask
        if shared:
            buffer, mask = read_only(buffer), None if mask is None else read_only(mask)
        if self.kind == "s":
            return text_array(buffer)
        if self.kind == "i" and mask is not None:
            return pd.arrays.IntegerArray(buffer, mask, copy=False)
        if self.kind == "b" and mask is not None:
            return pd.arrays.BooleanArray(buffer, mask, copy=False)
        return buffer

    def _write(self, n: int, end: int, values: list[Any], *, missing: bool) -> None:
        if self.kind == "o":
            for at, value in enumerate(values, n):
                self.buffer[at] = value
                self.mutable = self.mutable or is_mutable(value)
            return
        if missing and self.kind in _DTYPES:
            fill = _FILLS[self.kind]
            self.buffer[n:end] = [fill if value is None else value for value in values]
        else:
            self.buffer[n:end] = values
        if self.mask is not None and self.kind:
            self.mask[n:end] = [value is None for value in values] if missing else False

    def _admit(self, kind: str, n: int, *, missing: bool) -> bool:
        """Make room for values of a kind among those that are there."""
        wanted = _common(self.kind, kind)
        missing = missing or (not self.kind and n > 0)
        if wanted == "s" and missing:
            wanted = "o"
        changed = wanted != self.kind
        had_none = not self.kind
        if changed:
            self._become(wanted, n)
        if wanted in _DTYPES and missing and self.mask is None:
            self.mask = np.zeros(len(self.buffer), dtype=bool)
            self.mask[:n] = had_none
            if wanted != "f":
                # Frames that were handed out lie over the buffer without a mask; the masked ones get their own.
                self.buffer = self.buffer.copy()
                changed = True
        return changed

    def _become(self, kind: str, n: int) -> None:
        """Change the type, with all that is there."""
        fresh: Array = np.empty(len(self.buffer), dtype=_DTYPES.get(kind, object))
        fresh[:n] = _FILLS.get(kind)
        if self.kind:
            fresh[:n] = self.buffer[:n]
            if self.mask is not None:
                fresh[:n][self.mask[:n]] = np.nan if kind == "f" else None
            if kind == "f":
                self.buffer, self.kind = fresh, kind
                return
        self.buffer, self.kind, self.mask = fresh, kind, None


def constant_text(text: str, capacity: int) -> Column:
    """Make a column that has one text everywhere."""
    column = Column(0)
    column.kind = "s"
    column.buffer = np.full(capacity, text, dtype=object)
    return column


def read_only(buffer: Array) -> Array:
    """Give a view of a buffer through which nobody can write."""
    view = buffer.view()
    view.flags.writeable = False
    return view


def text_array(buffer: Array) -> Any:
    """Give text to pandas as its own type of text, over the buffer itself, without looking at every cell."""
    return pd.arrays.StringArray._simple_new(buffer, TEXT)  # type: ignore[attr-defined]  # noqa: SLF001 - only it is O(1)


def is_mutable(value: Any) -> bool:
    """Whether the holder of a cell could change the value itself."""
    if type(value) is tuple:
        return any(map(is_mutable, value))
    return type(value) not in _IMMUTABLE and not isinstance(value, np.generic)


def own_copy(value: Any) -> Any:
    """Copy what the holder of a cell could change."""
    if not is_mutable(value):
        return value
    kind = type(value)
    if kind is list:
        return [own_copy(item) for item in value]
    if kind is dict:
        return {name: own_copy(item) for name, item in value.items()}
    if kind is np.ndarray and not value.dtype.hasobject:
        return value.copy()
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - objects that cannot be copied, like locks, are handed out themselves
        return value


def own_cells(frame: pd.DataFrame, at: int, column: Column, start: int) -> None:
    """Give a frame its own copies of the cells of one column."""
    cells = np.empty(len(frame), dtype=object)
    for row, value in enumerate(column.buffer[start : start + len(frame)]):
        cells[row] = own_copy(value)
    series: Any = pd.Series(cells, index=frame.index, dtype=object, copy=False)
    frame.isetitem(at, series)


def frame_over(labels: Sequence[str], columns: Sequence[Column], keys: Array, *, shared: bool) -> pd.DataFrame:
    """Lay a data frame over whole buffers, copying nothing.

    Parameters
    ----------
    shared
        The buffers stay with the cache: nothing that is done to the frame, or to one made from it, reaches them.
    """
    texts = pd.Series(text_array(read_only(keys) if shared else keys), copy=False)
    index = pd.Index(texts, name="key", copy=False)
    arrays = [column.array(shared=shared) for column in columns]
    cells = {
        at: pd.Series(array, index=index, copy=False, dtype=object) if array.dtype == object else array
        for at, array in enumerate(arrays)
    }
    frame = pd.DataFrame(cells, index=index, copy=False)
    frame.columns = pd.Index(list(labels), dtype=TEXT)
    if shared:
        _witness(frame, texts)
    return frame


def _witness(frame: pd.DataFrame, index: "pd.Series[Any]") -> None:
    for manager in (frame._mgr, index._mgr):  # noqa: SLF001 - pandas has no public way
        for block in manager.blocks:
            block.refs.add_index_reference(_WITNESS)


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Copy frames into one, with types for what is missing as in a single cache."""
    n = sum(map(len, frames))
    labels = _merged([list(frame.columns) for frame in frames])
    # Freed at once: from then on glibc keeps as much for the next call, instead of having the kernel take back and
    # clear every page in between (mallopt(3), "dynamic mmap threshold"). That is half of the time.
    np.empty((len(labels) + 1) * n, dtype=np.float64)
    columns = [_joined_column([frame[label] if label in frame else len(frame) for frame in frames]) for label in labels]
    keys = np.concatenate([np.asarray(frame.index, dtype=object) for frame in frames]) if n else np.empty(0, object)
    return frame_over(labels, columns, keys, shared=False)


def _merged(orders: list[list[str]]) -> list[str]:
    """Merge column orders: a name that is new stands behind the one it follows."""
    merged: list[str] = []
    for order in orders:
        at = 0
        for name in order:
            if name in merged:
                at = merged.index(name) + 1
            else:
                merged.insert(at, name)
                at += 1
    return merged


def _joined_column(parts: "list[pd.Series[Any] | int]") -> Column:
    """Join the parts of a column; a number stands for as many rows that do not have it."""
    kinds = [_part_kind(part) for part in parts]
    kind = ""
    for other in kinds:
        kind = _common(kind, other)
    missing = "" in kinds
    if kind == "s" and missing:
        kind = "o"
    column = Column(0)
    column.kind = kind
    column.buffer = np.concatenate([_part_values(part, kind, own) for part, own in zip(parts, kinds, strict=True)])
    if kind in {"i", "b"}:
        masks = [np.ones(part, bool) if isinstance(part, int) else part.isna().to_numpy() for part in parts]
        mask = np.concatenate(masks)
        column.mask = mask if mask.any() else None
    return column


def _part_kind(part: "pd.Series[Any] | int") -> str:
    if isinstance(part, int):
        return ""
    if isinstance(part.dtype, pd.StringDtype):
        return "s"
    kind = _KINDS.get(str(part.dtype), "o")
    return "" if kind == "o" and all(map(is_, part.to_numpy(), repeat(None))) else kind


def _part_values(part: "pd.Series[Any] | int", kind: str, own: str) -> Array:
    """Give the values of a part, whose own kind may be another, as those of a kind."""
    if isinstance(part, int):
        return np.full(part, _FILLS.get(kind), dtype=_DTYPES.get(kind, object))
    if not own and kind in _DTYPES:
        return np.full(len(part), _FILLS[kind], dtype=_DTYPES[kind])
    if kind in {"i", "b"}:
        return part.to_numpy(dtype=_DTYPES[kind], na_value=_FILLS[kind])
    if kind == "f":
        return part.to_numpy(dtype=np.float64, na_value=np.nan)
    if own in {"i", "b"}:
        values: Array = part.astype(object).to_numpy(copy=True)
        values[part.isna().to_numpy()] = None
        return values
    return part.to_numpy(dtype=object)
