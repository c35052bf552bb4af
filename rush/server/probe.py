"""``python -m rush.server.probe``: tries the way to a server, step by step, from wherever it is run."""

import argparse
import dataclasses
import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from rush.config import RedisConfig, node_name, read_secrets
from rush.errors import RushError
from rush.store.information import server_info

PATIENCE = 5.0
"""Seconds that a step may take at most."""
_MARK = "rush-probe "


@dataclass(frozen=True)
class Step:
    """One step of the way: whether it worked, and what was found or what went wrong."""

    step: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Probe:
    """What came of it.

    Attributes
    ----------
    host, address
        From where: the name of the host, and the address that the server sees, None where it was not reached.
    server
        Where to, without secrets.
    steps
        ``resolve`` and ``connect`` for each place where the server is said to be, then ``answer``.
    """

    host: str
    address: str | None
    server: str
    steps: tuple[Step, ...]

    @property
    def ok(self) -> bool:
        """Whether the server answered."""
        return any(step.step == "answer" and step.ok for step in self.steps)

    @property
    def failed(self) -> Step | None:
        """The last step, where the way ended."""
        return None if self.ok or not self.steps else self.steps[-1]

    def to_line(self) -> str:
        """Write it down as one line, which `find` knows among others."""
        return _MARK + json.dumps(dataclasses.asdict(self))

    @classmethod
    def find(cls, text: str) -> Self | None:
        """Find it among the lines that a job wrote."""
        for line in text.splitlines():
            if line.startswith(_MARK):
                found = json.loads(line.removeprefix(_MARK))
                return cls(**{**found, "steps": tuple(Step(**step) for step in found["steps"])})
        return None


def probe(config: RedisConfig) -> Probe:
    """Try the way to a server from here."""
    hasty = dataclasses.replace(
        config,
        retry_timeout=0,
        connect_timeout=min(PATIENCE, config.connect_timeout),
        socket_timeout=min(PATIENCE, config.socket_timeout),
    )
    steps, own = [], None
    for host, port in () if config.unix_socket else config.sentinels or config.nodes or ((config.host, config.port),):
        for step, address in _reach(host, port, hasty.connect_timeout):
            steps.append(step)
            own = address or own
    if own is not None or config.unix_socket:
        steps.append(_answer(hasty))
    return Probe(node_name(), own, config.address, tuple(steps))


def _reach(host: str, port: int, patience: float) -> Iterator[tuple[Step, str | None]]:
    """Resolve a name and connect to it; give the steps, and this end's address once there is one."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield Step("resolve", ok=False, detail=f"{host}: {error.strerror or error}"), None
        return
    addresses = ", ".join(dict.fromkeys(str(place[4][0]) for place in found))
    yield Step("resolve", ok=True, detail=addresses if addresses == host else f"{host} is {addresses}"), None
    start = time.perf_counter()
    try:
        with socket.create_connection((host, port), timeout=patience) as connection:
            own = str(connection.getsockname()[0])
    except OSError as error:
        why = f"no answer within {patience:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        yield Step("connect", ok=False, detail=f"{host}:{port}: {why}"), None
        return
    yield Step("connect", ok=True, detail=f"{host}:{port} in {(time.perf_counter() - start) * 1000:.1f} ms"), own


def _answer(config: RedisConfig) -> Step:
    """Log in and ask for the version."""
    try:
        info = server_info(config)
    except RushError as error:
        return Step("answer", ok=False, detail=str(error))
    known = next((name for name in ("valkey_version", "redis_version") if name in info), None)
    name = f"{known.partition('_')[0].capitalize()} {info[known]}" if known else "a server of unknown kind"
    return Step("answer", ok=True, detail=name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m rush.server.probe", description="Try the way to a server.")
    parser.add_argument("--secrets", required=True, metavar="FILE", help="file of mode 0600; - for standard input")
    # What backends give to every command.
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--path", action="append", help=argparse.SUPPRESS)
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    found = probe(read_secrets(options.secrets))
    sys.stderr.write(found.to_line() + "\n")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
