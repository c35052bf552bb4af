"""``rush network``: the networks of a server."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from rush.cli.connection import NetworkId, Url, connected, known_network
from rush.cli.output import WORKER_COLUMNS, Format, Output, listing, show, table
from rush.cli.worker import worker_rows

if TYPE_CHECKING:
    from rush.config import RedisConfig

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and reset networks.")


@app.command("list")
def list_(url: Url = None, output: Output = Format.TEXT) -> None:
    """List the networks of the server, with their tasks and workers."""
    from rush.store import list_networks

    config = connected(url)
    rows = [{"network": name, **_counts(config, name)} for name in list_networks(config)]
    show(rows, table(rows, list(rows[0])) if rows else "no networks", output)


@app.command("show")
def show_(network: NetworkId, url: Url = None, output: Output = Format.TEXT) -> None:
    """Show a network: its tasks by state, and its workers."""
    from rush.manager import Rush

    config = connected(url)
    known_network(config, network)
    counts, workers = _counts(config, network), worker_rows(Rush(network, config))
    text = listing({"network": network, **counts})
    if workers:
        text += "\n\n" + table(workers, WORKER_COLUMNS)
    show({"network": network, **counts, "workers": workers}, text, output)


@app.command()
def reset(network: NetworkId, url: Url = None, output: Output = Format.TEXT) -> None:
    """End a network's workers and delete all that it stored."""
    from rush.manager import Rush

    config = connected(url)
    known_network(config, network)
    Rush(network, config).reset()
    show({"reset": network}, f"network {network} is reset", output)


def _counts(config: "RedisConfig", network: str) -> dict[str, int]:
    from rush.store import Store

    store = Store(config, network)
    try:
        return asdict(store.counts())
    finally:
        store.close()
