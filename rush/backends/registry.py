"""Finding backends by name: rush's own, those of other packages, those registered here, and named profiles."""

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from rush.backends.base import Backend
from rush.backends.options import wanted_instead
from rush.config import load_settings
from rush.errors import BackendNotFound, ConfigError, MissingDependency
from rush.spelling import unknown_name

GROUP = "rush.backends"
_EXTRAS = ("slurm", "pbs", "ssh", "dask")
_OWN = {
    "local": "rush.backends.local:Local",
    "slurm": "rush.backends.slurm.backend:Slurm",
    "pbs": "rush.backends.pbs.backend:PBS",
    "ssh": "rush.backends.ssh.backend:SSH",
    "dask": "rush.backends.dask.backend:Dask",
}
"""rush's own backends, which are also found where it runs from its source folder and has no entry points."""
_registered: dict[str, type[Backend]] = {}


def register_backend(name: str, backend: type[Backend]) -> None:
    """Make a backend known under a name in this process; packages use the entry-point group ``rush.backends``.

    Raises
    ------
    TypeError
        It is not a subclass of `Backend`.
    """
    if not (inspect.isclass(backend) and issubclass(backend, Backend)):  # user code
        raise TypeError(f"a backend must be a subclass of rush.backends.Backend, got {backend!r}")
    _registered[name] = backend


def backend_names() -> list[str]:
    """Give the names of all backends that are known here."""
    return sorted({*_registered, *_OWN, *(point.name for point in entry_points(group=GROUP))})


def find_backend(backend: "str | Backend", profiles: Mapping[str, Mapping[str, Any]] | None = None) -> Backend:
    """Give the backend that a name or a profile stands for.

    Parameters
    ----------
    backend
        A `Backend`, which is given back; the name of one; or the name of a profile of ``rush.toml``.
    profiles
        Profiles by name; by default those of the settings files.

    Raises
    ------
    BackendNotFound
        There is none; the message has the near matches.
    MissingDependency
        Its library is not installed; the message has the command that installs it.
    ConfigError
        A profile has an option that its backend does not know, or refuses.
    """
    if isinstance(backend, Backend):
        return backend
    if not isinstance(backend, str):
        raise TypeError(f"backend must be a name or a rush.backends.Backend, got {backend!r}")
    known = load_settings().profiles if profiles is None else profiles
    if backend in known:
        return _from_profile(backend, known[backend])
    return backend_class(backend, [*known])()


def backend_class(name: str, profiles: "list[str] | tuple[str, ...]" = ()) -> type[Backend]:
    """Give the class of a backend by its name."""
    if name in _registered:
        return _registered[name]
    if name in _OWN:
        return own_backend(name)
    for point in entry_points(group=GROUP, name=name):
        found = load_backend(point.load, name)
        if not (isinstance(found, type) and issubclass(found, Backend)):
            raise BackendNotFound(f"entry point {point.value!r} of backend {name!r} is not a rush.backends.Backend")
        return found
    raise BackendNotFound(unknown_name("backend", name, [*backend_names(), *profiles]))


def own_backend(name: str) -> type[Backend]:
    """Give the class of one of rush's own backends."""
    module, _, kind = _OWN[name].partition(":")
    found: type[Backend] = load_backend(lambda: getattr(import_module(module), kind), name)
    return found


def load_backend(load: Callable[[], Any], name: str) -> Any:
    """Import a backend; where its library is missing, say what installs it."""
    try:
        return load()
    except ImportError as error:
        extra = f"pip install 'rush-hpc[{name}]'" if name in _EXTRAS else "install what it asks for"
        raise MissingDependency(f"backend {name!r} cannot be imported ({error}); {extra}") from error


def _from_profile(name: str, options: Mapping[str, Any]) -> Backend:
    rest = dict(options)
    try:
        kind = backend_class(str(rest.pop("backend", "")))
    except BackendNotFound as error:
        raise BackendNotFound(f"profile {name!r}: {error}") from None
    known = [p for p in inspect.signature(kind).parameters if p != "self"]
    for option, value in rest.items():
        if option not in known:
            raise ConfigError(f"profile {name!r}: {unknown_name(f'option of backend {kind.name!r}', option, known)}")
        if (wanted := wanted_instead(kind, option, value)) is not None:
            raise ConfigError(f"profile {name!r}: {option} must be {wanted}, not {value!r}")
    try:
        return kind(**rest)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"profile {name!r}: {error}") from error
