"""Job script templates: holes are ``{{name}}``, so that ``$NAME`` stays the shell's."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from rush.errors import ConfigError
from rush.spelling import unknown_name

_HOLE = re.compile(r"\{\{(\w+)\}\}")


def render(template: str, values: Mapping[str, str]) -> str:
    """Fill the holes of a template.

    Raises
    ------
    ConfigError
        A hole has no value, or a value no hole; the message names both.
    """
    holes = set(_HOLE.findall(template))
    for name in sorted(holes - values.keys()):
        raise ConfigError(
            f"the template has a hole {{{{{name}}}}} without a value; values: {', '.join(sorted(values))}"
        )
    for name in sorted(values.keys() - holes):
        raise ConfigError(f"the value {name!r} has no hole {{{{{name}}}}}; holes: {', '.join(sorted(holes))}")
    return _HOLE.sub(lambda match: values[match.group(1)], template)


def is_path(name: str) -> bool:
    """Say whether a template is meant by its path, not by its name."""
    return "/" in name or name.endswith(".sh")


def load_template(name: str) -> str:
    """Read a template: one of rush's by name, or a file of the user's by path.

    Raises
    ------
    ConfigError
        There is none; the message has the near matches.
    """
    folder = files("rush.templates")
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ConfigError(f"no template at {name!r}; those to start from are in {folder}")
        return path.read_text()
    known = sorted(entry.name.removesuffix(".sh") for entry in folder.iterdir() if entry.name.endswith(".sh"))
    if name not in known:
        raise ConfigError(unknown_name("template", name, known))
    return (folder / f"{name}.sh").read_text()
