"""Job scripts and command lines of PBS, in each of its dialects."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rush.backends.jobs.scripts import seconds_of
from rush.backends.pbs.states import Dialect
from rush.template import load_template, render


@dataclass(frozen=True)
class Wanted:
    """What a job asks for. `time` is in minutes, or a text; `memory` is as for qsub, like ``4gb``."""

    job_name: str = "rush"
    queue: str | None = None
    account: str | None = None
    time: "str | int | None" = None
    cpus: int = 1
    memory: str | None = None
    gpus: "int | str | None" = None
    constraint: str | None = None
    extra: "Mapping[str, Any] | Sequence[str]" = ()


def options(wanted: Wanted, dialect: Dialect, log: str, count: int = 1) -> list[list[str]]:
    """Give the options of qsub, each as its words."""
    named = [("-N", wanted.job_name[:15]), ("-q", wanted.queue), ("-A", wanted.account), ("-o", log)]
    found = [[letter, value] for letter, value in named if value]
    found += [["-j", "oe"], ["-r", "n"], *(["-l", text] for text in _resources(wanted, dialect))]
    if count > 1:
        found.append(["-J", f"0-{count - 1}"])
    return found + extra_of(wanted)


def extra_of(wanted: Wanted) -> list[list[str]]:
    """Give the options that a user named, each as its words."""
    named = wanted.extra.items() if isinstance(wanted.extra, Mapping) else ()
    return [_named(name, value) for name, value in named if value is not None and value is not False]


def words_of(wanted: Wanted) -> list[str]:
    """Give the words that a user wants on qsub's command line as they are."""
    return [] if isinstance(wanted.extra, Mapping) else [str(word) for word in wanted.extra]


def command_line(found: Sequence[Sequence[str]], dialect: Dialect, words: Sequence[str], script: str) -> list[str]:
    """Give qsub's command line: Slurm's wrappers do not read all options in the script, so they get them here, too."""
    spelled = [] if dialect is Dialect.OPENPBS else [word for option in found for word in option]
    return ["qsub", *spelled, *words, script]


def script(
    template: str, title: str, found: Sequence[Sequence[str]], time: "str | int | None", output: str,
    setup: Sequence[str], command: str,
) -> str:  # fmt: skip
    """Fill in the template of a job script."""
    values = {
        "title": title,
        "options": "\n".join(f"#PBS {shlex.join(option)}" for option in found),
        "output": output,
        "setup": "\n".join(setup),
        "limit": "" if time is None else str(seconds_of(time)),
        "command": command,
    }
    return render(load_template(template), values)


def clock(time: "str | int") -> str:
    """Write a time limit as PBS wants it: ``HH:MM:SS``."""
    seconds = seconds_of(time) or 0
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _resources(wanted: Wanted, dialect: Dialect) -> list[str]:
    memory = re.sub(r"([kmgt])$", r"\1b", wanted.memory.lower()) if wanted.memory else ""
    if dialect is Dialect.OPENPBS:
        chunk = [f"select=1:ncpus={wanted.cpus}"]
        chunk += [f"mem={memory}"] if memory else []
        chunk += [f"ngpus={wanted.gpus}"] if wanted.gpus else []
        chunk += [wanted.constraint] if wanted.constraint else []
        found = [":".join(chunk)]
    else:
        chunk = [f"nodes=1:ppn={wanted.cpus}"]
        chunk += [f"gpus={wanted.gpus}"] if wanted.gpus else []
        chunk += [wanted.constraint] if wanted.constraint else []
        found = [":".join(chunk), *([f"mem={memory}"] if memory else [])]
    return [*found, *([f"walltime={clock(wanted.time)}"] if wanted.time is not None else [])]


def _named(name: str, value: object) -> list[str]:
    option = name if name.startswith("-") else f"-{name}"
    return [option] if value is True else [option, str(value)]
