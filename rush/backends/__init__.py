"""Launch backends: they put workers on this machine, on hosts, on clusters."""

from typing import Any

from rush.backends.base import Backend
from rush.backends.local import Local
from rush.backends.registry import backend_names, find_backend, own_backend, register_backend

__all__ = ["Backend", "Local", "backend_names", "find_backend", "register_backend"]

_LATE = {"Slurm": "slurm", "PBS": "pbs", "SSH": "ssh", "Dask": "dask"}


def __getattr__(name: str) -> Any:
    """Import a backend that needs an optional library when it is first asked for."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return own_backend(_LATE[name])
