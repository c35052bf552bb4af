"""The options of a backend with their values, and what its documentation says of them."""

import inspect
import re

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
