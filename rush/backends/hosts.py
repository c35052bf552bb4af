"""Whether the hosts of a job system are this very machine, whose loopback they then share."""

import json
import socket
from collections.abc import Iterable

import psutil

from rush.backends.jobs import programs as job_programs
from rush.backends.pbs.states import Dialect


def are_all_here(names: Iterable[str]) -> bool:
    """Say whether all these hosts, names or addresses, are this machine; False where there are none."""
    wanted = {*names}
    return bool(wanted) and all(_addresses(name) <= _own_addresses() for name in wanted)


def slurm_nodes(partition: str | None) -> set[str]:
    """Give the addresses of the nodes of some partitions, of all of them if None; none where Slurm does not answer."""
    chosen = [] if partition is None else [f"--partition={partition}"]
    return {*job_programs.run(["sinfo", "--noheader", "--Node", "--format=%o", *chosen]).stdout.split()}


def pbs_nodes(dialect: Dialect) -> set[str]:
    """Give the hosts of PBS's nodes; none where it does not answer."""
    if dialect is Dialect.WRAPPER:
        return slurm_nodes(None)
    if dialect is Dialect.TORQUE:
        return read_torque_nodes(job_programs.run(["pbsnodes", "-a"]).stdout)
    return read_openpbs_nodes(job_programs.run(["pbsnodes", "-a", "-F", "json"]).stdout)


def read_openpbs_nodes(output: str) -> set[str]:
    """Read ``pbsnodes -a -F json``; what cannot be read names no host."""
    try:
        nodes = json.loads(output)["nodes"]
        return {str(node["Mom"]) for node in nodes.values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def read_torque_nodes(output: str) -> set[str]:
    """Read ``pbsnodes -a`` of Torque: the names of nodes stand at the beginning of lines."""
    return {line.strip() for line in output.splitlines() if line[:1].strip()}


def _addresses(name: str) -> set[str]:
    """Resolve a name; one that cannot be resolved stands for itself, so it is nobody's address."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except OSError:
        return {name}


def _own_addresses() -> set[str]:
    found = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return found | {"127.0.1.1"}  # what Debian's hosts file says of the host's own name
