"""What to say of a misspelt name."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no such name, which ones are near, and which ones there are.

    >>> unknown_name("backend", "slrum", ["local", "slurm"])
    "no backend 'slrum'; did you mean 'slurm'? known: local, slurm"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"no {kind} {name!r}; {hint}known: {', '.join(names)}"
