"""Checks of what callers hand in: before anything is written, and with a message that says what would be right."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from rush.spelling import unknown_name

T = TypeVar("T")


def listed(value: object, name: str, item: str) -> list[Any]:
    """Give a list of a sequence, else raise: a lone item is a common slip."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise TypeError(
            f"{name} must be a list of {item}, got {_shown(value)}; put a single one in a list: [{name[:-1]}]"
        )
    return list(value)


def dicts(value: object, name: str) -> list[Mapping[str, Any]]:
    """Give a list of dicts, else raise."""
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        return value
    items = listed(value, name, "dicts")
    for at, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise TypeError(f"{name}[{at}] must be a dict, got {_shown(item)}")
    return items


def extras(value: object, name: str) -> list[Mapping[str, Any] | None]:
    """Give a list of dicts or None, else raise."""
    items = listed(value, name, "dicts")
    for at, item in enumerate(items):
        if item is not None and not isinstance(item, Mapping):
            raise TypeError(f"{name}[{at}] must be a dict or None, got {_shown(item)}")
    return items


def task_keys(value: object, name: str = "keys") -> list[str]:
    """Give a list of task keys, else raise."""
    if type(value) is list and len(value) == 1 and isinstance(value[0], str):
        return value[:]
    items = listed(value, name, "task keys")
    for at, item in enumerate(items):
        if not isinstance(item, str):
            raise TypeError(f"{name}[{at}] must be a task key (str), got {_shown(item)}")
    return items


def companions(items: list[T], length: int, name: str, to: str) -> list[T]:
    """Stretch a list of length 1 to `length`; any other length but `length` raises."""
    if len(items) == length:
        return items
    if len(items) == 1:
        return items * length
    raise ValueError(f"{name} has {len(items)} items but {to} has {length}; it must have {length} or 1")


def seconds(value: float | None, name: str = "timeout") -> float | None:
    """Give a timeout in seconds; None and infinity stand for no limit."""
    if type(value) is float and 0 <= value < math.inf:
        return value
    if value is None or value == math.inf:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, got {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or more seconds, got {value!r}")
    return float(value)


def task_timeout(value: float | None) -> float | None:
    """Give the time that a task may take, in seconds; None for no limit."""
    limit = seconds(value)
    if limit == 0:
        raise ValueError("timeout must be more than 0 seconds, got 0; None sets no limit")
    return limit


def choices(value: object, name: str, what: str, known: Sequence[str]) -> list[str]:
    """Give a list of names out of `known`, else raise with the near matches."""
    items = [value] if isinstance(value, str) else listed(value, name, "names")
    if not items:
        raise ValueError(f"{name} must not be empty; known: {', '.join(known)}")
    for item in items:
        if item not in known:
            raise ValueError(f"{name}: {unknown_name(what, item, map(str, known))}")
    return [str(item) for item in items]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
