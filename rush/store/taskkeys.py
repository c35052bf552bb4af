"""Task keys: 16 characters of base 62, made by the client so that a repeated call names the same tasks."""

import itertools
import os
import secrets
import string

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_MOST = 16**6


class _Source:
    """A random prefix (59 bits) before a counter of six digits; a prefix that is used up gives way to the next."""

    def __init__(self) -> None:
        self.prefix = "".join(secrets.choice(_DIGITS) for _ in range(10))
        self.counter = itertools.count()


_source = _Source()


def _renew() -> None:
    """Take another prefix; a forked child needs one of its own."""
    global _source  # noqa: PLW0603 - one source for the process
    _source = _Source()


os.register_at_fork(after_in_child=_renew)


def new_task_key() -> str:
    """Make a key that no other process makes."""
    source = _source
    number = next(source.counter)
    if number >= _MOST:
        _renew()
        return new_task_key()
    return f"{source.prefix}{number:06x}"
