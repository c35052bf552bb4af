"""Launch backends: they put workers on this machine, on hosts, on clusters."""


from rush.backends.base import Backend
from rush.backends.local import Local
from rush.backends.registry import backend_names, find_backend, register_backend

__all__ = ["Backend", "Local", "backend_names", "find_backend", "register_backend"]
