"""The options of a backend: their types, their values, and what its documentation says of them."""

import inspect
import re
import types
import typing
from typing import Any

from rush.backends.base import Backend

_NAMES = re.compile(r"^(\w+(?:, \w+)*)$")


def options_of(backend: Backend) -> list[dict[str, object]]:
    """Give the options of a backend: ``option``, its ``value``, and its ``meaning``."""
    meanings: dict[str, str] = {}
    for kind in reversed(type(backend).__mro__):
        meanings |= read_parameters(inspect.cleandoc(kind.__doc__ or ""))
    parameters = [p for p in inspect.signature(type(backend)).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return [
        {
            "option": parameter.name,
            "value": getattr(backend, parameter.name, parameter.default),
            "meaning": meanings.get(parameter.name, ""),
        }
        for parameter in parameters
    ]


def read_parameters(documentation: str) -> dict[str, str]:
    """Read the section ``Parameters`` of a NumPy docstring: each name with its text on one line."""
    _, found, section = documentation.partition("Parameters\n----------\n")
    meanings: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines() if found else ():
        if set(line) == {"-"}:
            # The line before was the title of the next section.
            for name in names:
                del meanings[name]
            break
        if match := _NAMES.match(line):
            names = match.group(1).split(", ")
            meanings |= dict.fromkeys(names, "")
        elif line.strip():
            text = line.strip().replace("`", "")
            meanings |= {name: f"{meanings[name]} {text}".strip() for name in names}
    return meanings


def wanted_instead(kind: type[Backend], option: str, value: object) -> str | None:
    """Say of which type an option must be if this value is of another; None where it fits, or no type is known."""
    try:
        hints = typing.get_type_hints(kind) | typing.get_type_hints(vars(kind).get("__init__", kind))
    except (NameError, TypeError):
        return None
    hint = hints.get(option, Any)
    return None if _fits(value, hint) else inspect.formatannotation(hint).replace("collections.abc.", "")


def _fits(value: object, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        return any(_fits(value, part) for part in typing.get_args(hint))
    if isinstance(value, bool):
        return hint in {bool, Any}
    if hint is float:
        return isinstance(value, int | float)
    kind = origin or hint
    return isinstance(value, kind) if isinstance(kind, type) else True
