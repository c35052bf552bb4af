"""How workers on other hosts come to reach a server, in the commands that help."""

from rush.config import RedisConfig
from rush.errors import ConfigError, ConnectionFailed
from rush.server import private, shared
from rush.server.addresses import interfaces
from rush.server.probe import Step


def check_reach(config: RedisConfig, backend: str, *, reaches_loopback: bool) -> None:
    """Refuse a server that only its own host reaches to a backend whose workers run on others.

    Raises
    ------
    ConfigError
        With the command that helps.
    """
    if config.on_loopback and not reaches_loopback:
        raise ConfigError(
            f"workers of backend {backend!r} run on other hosts, which do not reach {config.address}: {advice(config)}"
        )


def advice(config: RedisConfig) -> str:
    """Say what to do about a server that only its own host reaches."""
    start = "rush server start --bind auto (or an interface or address: --bind IFACE|ADDR)"
    if private.is_own(config):
        return f"start a server that they reach, then make the network anew: {start}"
    if _is_shared(config):
        return f"start your server anew where they reach it, with all its data: rush server stop; {start}"
    if config.unix_socket:
        return "give the server by its host and port: redis://HOST:PORT"
    return "give the server by a name or address that they reach, and see to it that it listens there"


def remedy(config: RedisConfig, failed: Step) -> str:
    """Say what to do about a step of the way to a server that did not work."""
    if config.on_loopback:
        return advice(config)
    if failed.step == "resolve":
        return "give the server by its address instead of its name"
    if failed.step == "connect":
        there = "; ".join(f"{name}: {', '.join(found)}" for name, found in interfaces().items() if name != "lo")
        return (
            "either no server listens there, or a firewall lies between; have it listen on a network that both are in: "
            f"rush server stop; rush server start --bind IFACE|ADDR. This host has {there or 'loopback only'}"
        )
    return "the server was reached, but does not serve"


def _is_shared(config: RedisConfig) -> bool:
    try:
        return shared.running_server() == config
    except (ConfigError, ConnectionFailed):
        return False
