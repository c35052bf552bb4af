"""``rush server``: your private server."""

from pathlib import Path
from typing import Annotated

import typer

from rush.cli.output import Format, Output, listing, show

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Start, stop and find your private server.")


@app.command()
def start(
    bind: Annotated[
        str | None,
        typer.Option(metavar="IFACE|ADDR|auto", help="Listen there, too; auto: a private address. Default: loopback."),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: one that is free.")] = None,
    folder: Annotated[Path | None, typer.Option("--dir", help="Its files, on a local disk.")] = None,
    program: Annotated[Path | None, typer.Option(help="The server program to run.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Start it, unless it runs already; it survives Ctrl-C and logout."""
    from rush.server import running_server, server_status, start_server

    before = running_server()
    config = start_server(bind=bind, port=port, folder=folder, program=program)
    word = "runs already" if before is not None else "started"
    show(server_status(), f"server {word} at {config.address}\nrsh() finds it; others need: rush server url", output)


@app.command()
def status(output: Output = Format.TEXT) -> None:
    """Say whether it runs, where, and how much it holds."""
    from dataclasses import asdict

    from rush.server import server_status

    found = server_status()
    show(found, listing(asdict(found)) if found.running else "no server runs; start one: rush server start", output)


@app.command()
def stop(
    forget: Annotated[
        bool, typer.Option("--forget", help="Only forget a server that is gone, such as one on a lost host.")
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Stop it; its data stays for the next."""
    from rush.server import stop_server

    stopped = stop_server(forget=forget)
    show({"stopped": stopped}, ("forgotten" if forget else "stopped") if stopped else "no server was running", output)


@app.command()
def url(output: Output = Format.TEXT) -> None:
    """Show its URL, with the password in it."""
    from rush.errors import RushError
    from rush.server import running_server

    config = running_server()
    if config is None:
        raise RushError("no server runs; start one: rush server start")
    show(config.url, config.url, output)
