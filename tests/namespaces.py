"""Hosts for tests: network namespaces with an address and a hostname of their own, on a bridge that this machine joins."""

import contextlib
import ipaddress
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

MARK = "rushtest"
NEEDED = ("ip", "unshare", "hostname")


@dataclass(frozen=True)
class Host:
    """One host: `name` is its hostname and its namespace's, `address` is reached from this machine and its neighbours."""

    name: str
    address: str
    link: str

    def command(self, *words: str) -> list[str]:
        """Give the command line that runs a program there, under its hostname."""
        named = ["unshare", "--uts", "--", "sh", "-c", 'hostname "$0"; exec "$@"', self.name]
        return ["ip", "netns", "exec", self.name, *named, *words]

    def cut(self) -> None:
        """Pull its cable: no packet comes in or goes out, and nobody is told."""
        _ip("link", "set", self.link, "down")

    def heal(self) -> None:
        """Plug its cable in again; connections that have not run out go on."""
        _ip("link", "set", self.link, "up")

    def pids(self) -> list[int]:
        """Give the processes that run there."""
        return [int(word) for word in _ip("netns", "pids", self.name).split()]


@dataclass(frozen=True)
class Neighbourhood:
    """Hosts that reach each other by name and address, and this machine at `address`."""

    address: str
    hosts: tuple[Host, ...]


@cache
def missing() -> str:
    """Say what is missing here; '' for nothing."""
    if lacking := [program for program in NEEDED if shutil.which(program) is None]:
        return f"not installed: {', '.join(lacking)}"
    probe = f"{MARK}-{os.getpid()}-probe"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "del", probe)
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"
    return ""


@contextlib.contextmanager
def neighbourhood(n: int) -> Iterator[Neighbourhood]:
    """Bring up `n` hosts in a subnet of their own; on leaving, end what runs there and remove them."""
    _sweep()
    number = _free_number()
    prefix, bridge = f"{MARK}-{os.getpid()}-{number}", f"rt{number}"
    try:
        yield _build(prefix, bridge, _free_subnet(), n)
    finally:
        _remove(prefix, bridge)


def _build(prefix: str, bridge: str, subnet: ipaddress.IPv4Network, n: int) -> Neighbourhood:
    own, *others = [str(address) for _, address in zip(range(n + 1), subnet.hosts(), strict=False)]
    _ip("link", "add", bridge, "type", "bridge")
    _ip("addr", "add", f"{own}/{subnet.prefixlen}", "dev", bridge)
    _ip("link", "set", bridge, "up")
    hosts = tuple(Host(f"{prefix}-h{i}", address, f"{bridge}h{i}") for i, address in enumerate(others, 1))
    names = "".join(f"{host.address} {host.name}\n" for host in hosts)
    for host in hosts:
        _ip("netns", "add", host.name)
        _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        _ip("link", "set", host.link, "master", bridge, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{host.address}/{subnet.prefixlen}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            _ip("-n", host.name, *words)
        folder = Path("/etc/netns") / host.name
        folder.mkdir(parents=True)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{own} {os.uname().nodename}\n{names}")
    return Neighbourhood(own, hosts)


def _remove(prefix: str, bridge: str) -> None:
    names = [name for name in _namespaces() if name.startswith(f"{prefix}-")]
    _end_processes(names)
    for name in names:
        _ip("netns", "del", name)
        shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("link", "del", bridge)


def _end_processes(names: Sequence[str]) -> None:
    found = []
    for name in names:
        for word in _ip("netns", "pids", name).split():
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(word)))
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(found, timeout=2)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=5)


def _sweep() -> None:
    """Remove what test processes that were killed have left."""
    for name in _namespaces():
        mark, _, rest = name.partition("-")
        pid, _, number = rest.partition("-")
        if mark == MARK and pid.isdigit() and not psutil.pid_exists(int(pid)) and number.partition("-")[0].isdigit():
            _remove(name.rpartition("-")[0], f"rt{number.partition('-')[0]}")


def _namespaces() -> list[str]:
    return [line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()]


def _free_number() -> int:
    taken = {link["ifname"] for link in json.loads(_ip("-json", "link", "show"))}
    return next(n for n in iter(lambda: random.randrange(1_000_000), None) if f"rt{n}" not in taken)


def _free_subnet() -> ipaddress.IPv4Network:
    addresses = json.loads(_ip("-json", "-4", "addr", "show"))
    taken = [
        ipaddress.ip_network(f"{info['local']}/{info['prefixlen']}", strict=False)
        for link in addresses
        for info in link["addr_info"]
    ]
    while True:
        subnet = ipaddress.IPv4Network(f"10.{random.randrange(64, 256)}.{random.randrange(256)}.0/24")
        if not any(subnet.overlaps(other) for other in taken):
            return subnet


def _ip(*words: str) -> str:
    """Run ``ip``; a namespace that is just going away may keep it busy for a moment."""
    for _ in range(20):
        done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0 or "busy" not in done.stderr:
            break
        time.sleep(0.1)
    done.check_returncode()
    return done.stdout
