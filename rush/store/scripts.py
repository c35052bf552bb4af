"""The Lua scripts, read once: each is one atomic step of the store."""

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

_INCLUDE = re.compile(r"^ *-- include ([\w/]+)$", re.MULTILINE)


Reply = Any
"""What the server answers: a script's heading says what that is."""


class Script(NamedTuple):
    """A script's text and the digest that the server knows it by."""

    name: str
    text: bytes
    sha: bytes


def read_scripts() -> None:
    """Read all scripts now, for the processes that are forked from this one."""
    for path in (files("rush.store") / "lua").iterdir():
        if path.name.endswith(".lua"):
            script(path.name.removesuffix(".lua"))


@cache
def script(name: str) -> Script:
    """Read one script and put in what it includes: parts, which are functions, and steps, which use its variables."""
    folder = files("rush.store") / "lua"
    source = (folder / f"{name}.lua").read_text()
    parts = {part: (folder / f"{part}.lua").read_text() for part in _INCLUDE.findall(source)}
    text = _INCLUDE.sub(lambda match: parts[match.group(1)], source).encode()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
