"""Task keys: 16 characters of base 62, made by the client so that a repeated call names the same tasks."""

import itertools
import os
import secrets
import string

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS = [a + b for a in _DIGITS for b in _DIGITS]
_BASE = len(_PAIRS)


class _Source:
    """A random prefix for the process (59 bits) before a counter."""

    def __init__(self) -> None:
        self.prefix = "".join(secrets.choice(_DIGITS) for _ in range(10))
        self.counter = itertools.count()


_source = _Source()


def _renew() -> None:
    """Give a forked child a prefix of its own."""
    global _source  # noqa: PLW0603 - one source for the process
    _source = _Source()


os.register_at_fork(after_in_child=_renew)


def new_task_key() -> str:
    """Make a key that no other process makes."""
    source = _source
    number, low = divmod(next(source.counter), _BASE)
    high, middle = divmod(number, _BASE)
    return source.prefix + _PAIRS[high % _BASE] + _PAIRS[middle] + _PAIRS[low]
