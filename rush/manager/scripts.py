"""Scripts that start a worker wherever they are run."""

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rush.backends import find_backend
from rush.config import user_folder
from rush.manager.loops import LoopOptions, worker_arguments
from rush.template import load_template, render

if TYPE_CHECKING:
    from rush.manager.rush import Rush

_JOBS = ("slurm", "pbs")
"""Templates of job scripts, which their backends fill in."""


def worker_script(net: "Rush", loop: Callable[..., Any], template: str, options: LoopOptions) -> str:
    """Store the loop and its secrets, and fill in a template that starts one worker."""
    text = "" if template in _JOBS else load_template(template)
    loop_id = net._store_loop(loop, options, template)
    words = [*worker_arguments(net.network_id, loop_id, ()), "--secrets", str(_secret_file(net))]
    if template in _JOBS:
        backend: Any = find_backend(template, {})
        return str(backend.hand_script(net.network_id, shlex.join([sys.executable, *words])))
    values = {
        "network": net.network_id,
        "python": shlex.quote(sys.executable),
        "arguments": shlex.join(words),
    }
    return render(text, values)


def _secret_file(net: "Rush") -> Path:
    """Write the network's secrets where only their owner can read them, and give the path."""
    folder = user_folder() / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{net.network_id}.json"
    draft = path.with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(net._secret() + b"\n")
    draft.replace(path)
    return path
