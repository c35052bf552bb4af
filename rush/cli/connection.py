"""What commands have in common: the server that they speak to, and the arguments by which things are named."""

from typing import TYPE_CHECKING, Annotated

import typer

from rush.errors import RushError

if TYPE_CHECKING:
    from rush.config import RedisConfig

Url = Annotated[
    str | None, typer.Option("--url", help="The server; default: RUSH_URL, REDIS_URL, rush.toml, your private server.")
]

NetworkId = Annotated[str, typer.Argument(metavar="NETWORK")]
WorkerIds = Annotated[list[str] | None, typer.Argument(metavar="[WORKER]...", help="Default: all.")]
LoopId = Annotated[
    str | None,
    typer.Option("--loop", metavar="ID", help="A loop that the network holds. Default: the one stored last."),
]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[-- OPTIONS]", help="Options of the job system, untouched.")
]


PATIENCE = 5.0
"""Seconds for which a command tries a server that does not answer: somebody sits before it."""


def connected(url: str | None) -> "RedisConfig":
    """Find the server and see that it answers; unlike `rsh`, a command that looks at what is there starts none.

    Raises
    ------
    RushError
        None is configured, and none was started.
    ConnectionFailed
        It does not answer, or refuses the password.
    """
    from dataclasses import replace

    from rush.store.information import server_info

    config = named_server(url)
    server_info(replace(config, retry_timeout=min(PATIENCE, config.retry_timeout)))
    return config


def named_server(url: str | None) -> "RedisConfig":
    """Find the server, whether it answers or not.

    Raises
    ------
    RushError
        None is configured, and none was started.
    """
    from rush.config import RedisConfig, load_settings
    from rush.server import running_server

    config = RedisConfig.from_url(url) if url else load_settings().config or running_server()
    if config is None:
        raise RushError("no server: give --url, set RUSH_URL, or start one: rush server start")
    return config


def known_network(config: "RedisConfig", network: str) -> None:
    """Raise unless the server has this network, so that a misspelt name makes none.

    Raises
    ------
    RushError
        With the near matches.
    """
    from rush.spelling import unknown_name
    from rush.store import list_networks

    known = list_networks(config)
    if not known:
        raise RushError(f"no network {network!r}: the server at {config.address} has none")
    if network not in known:
        raise RushError(unknown_name("network", network, known))
