"""``rush worker``: run workers, and look after those of a network."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from rush.cli.connection import Url, connected, known_network
from rush.cli.output import WORKER_COLUMNS, Format, Output, show, table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run, list and stop workers, and read their logs.")

NetworkId = Annotated[str, typer.Argument(metavar="NETWORK")]
WorkerIds = Annotated[list[str] | None, typer.Argument(metavar="[WORKER]...", help="Default: all.")]


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
def run(arguments: Annotated[list[str] | None, typer.Argument(metavar="OPTIONS")] = None) -> None:
    """Run workers under a supervisor, as job scripts do: see rush worker run --help."""
    from rush.worker.__main__ import main

    sys.exit(main(arguments or []))


@app.command("list")
def list_(network: NetworkId, url: Url = None, output: Output = Format.TEXT) -> None:
    """List the workers of a network."""
    from rush.store import Store

    config = connected(url)
    known_network(config, network)
    store = Store(config, network)
    try:
        rows = [asdict(worker) for worker in store.workers()]
    finally:
        store.close()
    show(rows, table(rows, WORKER_COLUMNS) if rows else "no workers", output)


@app.command()
def stop(
    network: NetworkId,
    workers: WorkerIds = None,
    kill: Annotated[bool, typer.Option("--kill", help="Do not let running tasks end.")] = False,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Stop workers of a network; the tasks they run may end first."""
    from rush.manager import Rush

    config = connected(url)
    known_network(config, network)
    net = Rush(network, config)
    stopped = list(workers or net.running_worker_ids)
    net.stop_workers("kill" if kill else "terminate", stopped)
    show({"stopped": stopped}, "told to stop: " + (", ".join(stopped) or "no worker"), output)


@app.command()
def logs(network: NetworkId, workers: WorkerIds = None, url: Url = None, output: Output = Format.TEXT) -> None:
    """Show what the workers of a network logged to the server."""
    import json

    from rush.manager import Rush

    config = connected(url)
    known_network(config, network)
    frame = Rush(network, config).read_log(workers or None)
    rows = json.loads(frame.to_json(orient="records", date_format="iso"))
    show(rows, table(rows, list(frame.columns)) if rows else "no log records", output)
