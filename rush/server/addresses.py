"""Where a server listens: on loopback, or on one address of this host that is asked for by name, address or auto."""

import ipaddress
import logging
import socket
from collections.abc import Mapping, Sequence

from rush.errors import ConfigError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
Interfaces = Mapping[str, Sequence[str]]

_VIRTUAL = ("docker", "br-", "virbr", "veth", "cni", "flannel", "cali", "podman", "lxc", "vmnet", "tun", "tap")
"""Beginnings of the names of interfaces that lead to containers and tunnels, not to other hosts."""


def choose_address(bind: str | None) -> str:
    """Give the address for what was asked: None, ``auto``, the name of an interface, or one of its addresses.

    Raises
    ------
    ConfigError
        There is no such interface or address here, or ``auto`` finds no private one.
    """
    if bind is None:
        return LOOPBACK
    address = pick(bind, interfaces(), own_addresses())
    if ipaddress.ip_address(address).is_global:
        log.warning(
            "the server listens on %s, a public address: passwords and data cross the network unencrypted", address
        )
    return address


def pick(bind: str, found: Interfaces, named: Sequence[str]) -> str:
    """Choose among the interfaces `found`; `named` are the addresses that the host's own name stands for."""
    if bind == "auto":
        return _private(found, named)
    if bind in found:
        return _first(bind, found[bind])
    try:
        asked = ipaddress.ip_address(bind)
    except ValueError:
        raise ConfigError(f"no interface or address {bind!r} on this host; known: {_listed(found)}") from None
    if asked.is_unspecified:
        raise ConfigError(f"bind must be one interface or address, not {bind}: {_listed(found)}, or auto")
    if str(asked) not in {address for addresses in found.values() for address in addresses}:
        raise ConfigError(f"this host has no address {bind}; known: {_listed(found)}")
    return str(asked)


def interfaces() -> dict[str, list[str]]:
    """List the interfaces that are up, with their addresses, IPv4 first."""
    import psutil

    up = {name for name, status in psutil.net_if_stats().items() if status.isup}
    found: dict[str, list[str]] = {}
    for name, addresses in psutil.net_if_addrs().items():
        usable = [a for a in addresses if a.family in {socket.AF_INET, socket.AF_INET6} and "%" not in a.address]
        usable.sort(key=lambda address: address.family != socket.AF_INET)
        if usable and name in up:
            found[name] = [address.address for address in usable]
    return found


def own_addresses() -> list[str]:
    """Give the IPv4 addresses that this host's name stands for."""
    try:
        return list(socket.gethostbyname_ex(socket.gethostname())[2])
    except OSError:
        return []


def _private(found: Interfaces, named: Sequence[str]) -> str:
    private = [
        address
        for name, addresses in found.items()
        if not name.startswith(_VIRTUAL)
        for address in addresses
        if _is_private(address)
    ]
    for address in [*(address for address in named if address in private), *private]:
        return address
    raise ConfigError(f"bind auto found no private address; name an interface or address: {_listed(found)}")


def _is_private(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip.version == 4 and ip.is_private and not (ip.is_loopback or ip.is_link_local or ip.is_unspecified)


def _first(interface: str, addresses: Sequence[str]) -> str:
    if not addresses:
        raise ConfigError(f"interface {interface!r} has no address")
    return addresses[0]


def _listed(found: Interfaces) -> str:
    return ", ".join(f"{name} ({', '.join(addresses)})" for name, addresses in sorted(found.items())) or "none"
