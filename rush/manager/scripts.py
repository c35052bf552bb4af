"""Scripts that start a worker wherever they are run, and job scripts to be edited and submitted by hand."""

import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rush.backends import Backend, find_backend
from rush.config import load_settings, user_folder
from rush.errors import BackendError, BackendNotFound, ConfigError
from rush.manager.loops import LoopOptions, worker_arguments
from rush.spelling import unknown_name
from rush.template import is_path, load_template, render

if TYPE_CHECKING:
    from rush.manager.rush import Rush

log = logging.getLogger("rush")

PLAIN = "worker"
"""The template for any host; the names of job systems stand for their job scripts."""


def worker_script(net: "Rush", loop: Callable[..., Any], template: str, options: LoopOptions) -> str:
    """Store the loop and its secrets, and fill in a template that starts one worker."""
    source = _source(template)
    gpus = source.gpus_per_worker if isinstance(source, Backend) else 0
    name = source.name if isinstance(source, Backend) else template
    return _filled(net, source, net._store_loop(loop, options, name, gpus))


def stored_script(net: "Rush", template: str, loop_id: str, words: Sequence[str] = ()) -> str:
    """Fill in a template for a loop that the network holds; `words` are options of the job system.

    Raises
    ------
    ConfigError
        There is no such template, backend or profile.
    BackendError
        The backend submits no jobs.
    """
    source = _source(template)
    if isinstance(source, Backend):
        source = source.with_words(words)
    elif words:
        raise ConfigError(f"template {template!r} is no job script, so it takes no options: {' '.join(words)}")
    return _filled(net, source, loop_id)


def forget_secrets(network_id: str) -> None:
    """Remove the file that scripts for a network name."""
    _secret_path(network_id).unlink(missing_ok=True)


def _source(template: str) -> str | Backend:
    """Give the text of a template, or the backend that a name or profile stands for."""
    if template == PLAIN or is_path(template):
        return load_template(template)
    try:
        return find_backend(template)
    except BackendNotFound:
        known = (PLAIN, "slurm", "pbs", *load_settings().profiles)
        raise ConfigError(unknown_name("template", template, known)) from None


def _filled(net: "Rush", source: str | Backend, loop_id: str) -> str:
    words = [*worker_arguments(net.network_id, loop_id, ()), "--secrets", str(_secret_file(net))]
    if isinstance(source, Backend):
        _warn_of_loopback(net, source)
        return source.hand_script(net.network_id, words)
    values = {"network": net.network_id, "python": shlex.quote(sys.executable), "arguments": shlex.join(words)}
    return render(source, values)


def _warn_of_loopback(net: "Rush", backend: Backend) -> None:
    """Say that jobs will not reach the server; a script may be made where no job system can be asked."""
    try:
        net._check_reach(backend)
    except (ConfigError, BackendError) as error:
        log.warning("%s", error)


def _secret_path(network_id: str) -> Path:
    return user_folder() / "secrets" / f"{network_id}.json"


def _secret_file(net: "Rush") -> Path:
    """Write the network's secrets where only their owner can read them, and give the path."""
    path = _secret_path(net.network_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(net._secret() + b"\n")
    draft.replace(path)
    return path
