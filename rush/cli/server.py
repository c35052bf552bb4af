"""``rush server``: your private server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rush.cli.connection import Url, named_server
from rush.cli.output import Format, Output, listing, say, show, table

if TYPE_CHECKING:
    from rush.server.probe import Probe

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Start, stop, find and check your private server.")


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


@app.command()
def check(
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A backend or profile. Default: the one of the settings, else local."),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait until the job runs.")] = 300.0,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Try the way to the server, from here and from where a backend runs workers: one small job is submitted."""
    from rush.backends import find_backend
    from rush.errors import RushError
    from rush.plan import setting
    from rush.server.check import check_way
    from rush.server.probe import probe
    from rush.server.reach import remedy

    config = named_server(url)
    name = setting("backend", backend, "local")
    here = probe(config)
    there = check_way(config, find_backend(name), timeout, lambda said: say(f"the job of {name}: {said}"))
    show({"ok": there.ok, "here": here, "there": there}, f"{_way(here)}\n{_way(there)}", output)
    if there.failed is not None:
        raise RushError(
            f"workers of {name} do not reach the server from {there.host}: "
            f"{there.failed.detail}; {remedy(config, there.failed)}"
        )


def _way(found: "Probe") -> str:
    rows = [{"step": f"  {s.step}", "ok": "ok" if s.ok else "failed", "detail": s.detail} for s in found.steps]
    start = f"{found.host} ({found.address})" if found.address else found.host
    laid_out = table(rows, ("step", "ok", "detail")).partition("\n")[2]
    return f"from {start} to {found.server}\n{laid_out}"
