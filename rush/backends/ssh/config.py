"""What OpenSSH's configuration says of a host: as ``ssh -G`` tells it, or read from the file where there is no ssh."""

import getpass
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rush.config import child_environment
from rush.errors import BackendError

_PATIENCE = 20.0
_MOST_HOPS = 8
_DEFAULT_PORT = 22
_KEY_FILES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@dataclass(frozen=True)
class Target:
    """A host as it was asked for, and by what it is reached.

    Attributes
    ----------
    name
        ``[user@]host[:port]``; the host may be a name of the configuration.
    config
        Path of the configuration, instead of the user's own and the system's.
    client
        "paramiko" or "openssh".
    via
        Hosts to jump through, instead of those that the configuration names.
    """

    name: str
    config: str | None = None
    client: str = "paramiko"
    via: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """Give the arguments by which ``ssh`` means this host."""
        host, port = split_port(self.name)
        return [*(["-F", self.config] if self.config else []), *(["-p", str(port)] if port else []), "--", host]


@dataclass(frozen=True)
class HostSettings:
    """How a host is reached: its address, the keys to show, the hosts to jump through, and what its own key may be.

    `agent` is the socket of the agent to ask, None for none, and empty for the one in the environment.
    """

    host: str
    port: int
    user: str
    key_files: tuple[str, ...]
    agent: str | None
    only_these_keys: bool
    jumps: tuple[str, ...]
    known_hosts: tuple[str, ...]
    key_names: tuple[str, ...]
    unknown_keys: str
    hash_names: bool


def settings_of(target: Target) -> HostSettings:
    """Look up a host.

    Raises
    ------
    BackendError
        The configuration cannot be read, or asks for what only OpenSSH's own client can do.
    """
    if target.config is not None and not Path(target.config).is_file():
        raise BackendError(f"no SSH configuration at {target.config!r}")
    program = shutil.which("ssh")
    found = _asked(target, program) if program else _parsed(target)
    command = _one(found, "proxycommand", "none")
    if command.lower() != "none" and not target.via:
        raise BackendError(f"host {target.name!r} is reached by a ProxyCommand; use client='openssh'")
    return _settings(target, found)


def route(target: Target) -> list[tuple[Target, HostSettings]]:
    """Give the hosts to pass on the way to one, and this one last."""
    hops: list[tuple[Target, HostSettings]] = []
    while len(hops) < _MOST_HOPS:
        settings = settings_of(target)
        hops.insert(0, (target, settings))
        jumps = target.via or settings.jumps
        if not jumps:
            return hops
        target = Target(jumps[-1], target.config, target.client, via=jumps[:-1])
    raise BackendError(f"the jump hosts of {hops[-1][0].name!r} go in a circle: {', '.join(t.name for t, _ in hops)}")


def split_port(name: str) -> tuple[str, int | None]:
    """Split ``host``, ``host:port``, ``[address]:port`` and the same after ``user@`` or ``ssh://``."""
    user, at, rest = name.removeprefix("ssh://").rstrip("/").rpartition("@")
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    else:
        host, port = rest, ""
    if not host or host.startswith("-") or (port and not port.isdigit()):
        raise ValueError(f"a host must be like 'name', 'user@name' or 'user@name:port', got {name!r}")
    return f"{user}{at}{host}", int(port) if port else None


def _asked(target: Target, program: str) -> Mapping[str, Sequence[str]]:
    """Have ``ssh`` itself evaluate its configuration."""
    argv = [program, "-G", *target.words()]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PATIENCE, check=False, env=child_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"ssh -G {target.name} failed: {error}") from error
    if done.returncode != 0:
        raise BackendError(f"the SSH configuration of {target.name!r} cannot be read: {done.stderr.strip()}")
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)
    return found


def _parsed(target: Target) -> Mapping[str, Sequence[str]]:
    """Read the configuration with paramiko, which knows nothing of Include."""
    import paramiko

    address, port = split_port(target.name)
    user, _, host = address.rpartition("@")
    path = Path(target.config or "~/.ssh/config").expanduser()
    text = path.read_text() if path.is_file() else ""
    if any(line.split()[:1] and line.split()[0].lower() == "include" for line in text.splitlines()):
        raise BackendError(f"{path} has Include lines, which are understood only where the program ssh is installed")
    try:
        options: Mapping[str, Any] = paramiko.SSHConfig.from_text(text).lookup(host)
    except paramiko.SSHException as error:
        raise BackendError(f"{path} cannot be read: {error}") from error
    found = {name: value if isinstance(value, list) else [value] for name, value in options.items() if value}
    if user:
        found["user"] = [user]
    if port:
        found["port"] = [str(port)]
    return found


def _settings(target: Target, found: Mapping[str, Sequence[str]]) -> HostSettings:
    host = _one(found, "hostname", target.name)
    port = int(_one(found, "port", str(_DEFAULT_PORT)))
    alias = _one(found, "hostkeyalias", "none")
    files = [*_paths(found, "userknownhostsfile", _KNOWN_HOSTS), *_paths(found, "globalknownhostsfile", ())]
    jumps = _one(found, "proxyjump", "none")
    hops = tuple(jump.strip() for jump in jumps.split(",")) if jumps.lower() != "none" else ()
    user = _one(found, "user", "") or getpass.getuser()
    agent = _one(found, "identityagent", "")
    tokens = {"h": host, "p": str(port), "r": user, "u": getpass.getuser(), "d": str(Path.home()), "%": "%"}
    own = {host.lower(), split_port(target.name)[0].rpartition("@")[2].lower()}
    return HostSettings(
        host=host,
        port=port,
        user=user,
        key_files=tuple(_expanded(path, tokens) for path in found.get("identityfile", _KEY_FILES)),
        agent=None if agent.lower() == "none" else agent.removeprefix("$").removeprefix("SSH_AUTH_SOCK"),
        only_these_keys=_one(found, "identitiesonly", "no").lower() in {"yes", "true"},
        # A pattern like "Host *" names the jump host for the jump host, too.
        jumps=() if hops and split_port(hops[-1])[0].rpartition("@")[2].lower() in own else hops,
        known_hosts=tuple(str(Path(path).expanduser()) for path in files),
        key_names=_names_of_key(host.lower(), port) if alias.lower() == "none" else (alias.lower(),),
        unknown_keys=_one(found, "stricthostkeychecking", "ask").lower(),
        hash_names=_one(found, "hashknownhosts", "no").lower() in {"yes", "true"},
    )


def _expanded(path: str, tokens: Mapping[str, str]) -> str:
    """Put in what ``%h`` and its like stand for, and the home."""
    return str(Path(re.sub("%(.)", lambda match: tokens.get(match[1], match[0]), path)).expanduser())


def _names_of_key(host: str, port: int) -> tuple[str, ...]:
    """Give the names under which a host's key may stand; the first is the one under which it is added."""
    return (host,) if port == _DEFAULT_PORT else (f"[{host}]:{port}", host)


def _one(found: Mapping[str, Sequence[str]], name: str, default: str) -> str:
    values = found.get(name)
    return values[0] if values else default


def _paths(found: Mapping[str, Sequence[str]], name: str, default: Sequence[str]) -> list[str]:
    """Give the paths of an option that takes several in one line."""
    values = found.get(name)
    words = [word for value in values for word in value.split()] if values else list(default)
    return [word for word in words if word.lower() != "none"]
