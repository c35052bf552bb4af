"""Launch backends: they put workers on this machine, on hosts, on clusters."""

from importlib import import_module
from typing import Any

from rush.backends.base import Backend
from rush.backends.local import Local
from rush.backends.registry import backend_names, find_backend, load_backend, register_backend

__all__ = ["Backend", "Local", "backend_names", "find_backend", "register_backend"]

_LATE = {"Slurm": "slurm", "PBS": "pbs", "SSH": "ssh", "Dask": "dask"}


def __getattr__(name: str) -> Any:
    """Import a backend that needs an optional library when it is first asked for."""
    folder = _LATE.get(name)
    if folder is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return load_backend(lambda: getattr(import_module(f"{__name__}.{folder}.backend"), name), folder)
