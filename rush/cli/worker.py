"""``rush worker``: start and run workers, and look after those of a network."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rush.cli.connection import LoopId, NetworkId, Url, Words, WorkerIds, connected, known_network
from rush.cli.output import WORKER_COLUMNS, Format, Output, show, table
from rush.errors import RushError

if TYPE_CHECKING:
    import pandas as pd

    from rush.manager import Rush

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Start, run, list and stop workers, and read their logs."
)


@app.command()
def start(
    network: NetworkId,
    words: Words = None,
    backend: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A backend or profile. Default: the one of the settings, else local."),
    ] = None,
    n_workers: Annotated[
        int | None, typer.Option("--n-workers", "-n", min=1, help="Default: of the settings, of the backend, or 1.")
    ] = None,
    loop: LoopId = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be run or submitted.")] = False,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Start more workers with a loop that the network holds; they outlive this command.

    Options of the job system go after --, as in: rush worker start mynetwork --backend slurm -- --partition=cpu
    """
    from rush.backends import find_backend
    from rush.manager.placing import preview_stored, start_stored
    from rush.plan import setting

    net = _network(network, url)
    chosen = find_backend(setting("backend", backend, "local")).with_words(words or ())
    if dry_run:
        preview = preview_stored(net, chosen, n_workers, loop)
        show({"preview": preview}, preview, output)
        return
    if tie := chosen.tie():
        raise RushError(f"{tie} would end with this command, so start such workers from Python: net.start_workers(...)")
    started = start_stored(net, chosen, n_workers, loop)
    show({"started": started}, "started: " + ", ".join(started), output)


@app.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
def run(
    arguments: Annotated[list[str] | None, typer.Argument(metavar="OPTIONS")] = None, output: Output = Format.TEXT
) -> None:
    """Run workers under a supervisor, as job scripts do: see rush worker run --help."""
    from rush.names import new_worker_id
    from rush.worker.__main__ import main, parser

    words = arguments or []
    if output is Format.TEXT:
        sys.exit(main(words))
    workers = parser().parse_args(words).worker
    if workers is None:
        workers = [new_worker_id()]
        words += ["--worker", *workers]
    code = main(words)
    show({"workers": workers, "exit_code": code}, "", output)
    sys.exit(code)


@app.command("list")
def list_(network: NetworkId, url: Url = None, output: Output = Format.TEXT) -> None:
    """List the workers of a network, also those whose jobs still wait."""
    rows = worker_rows(_network(network, url))
    show(rows, table(rows, WORKER_COLUMNS) if rows else "no workers", output)


@app.command()
def stop(
    network: NetworkId,
    workers: WorkerIds = None,
    kill: Annotated[bool, typer.Option("--kill", help="Do not let running tasks end.")] = False,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Stop workers of a network, and take back jobs that still wait; the tasks they run may end first."""
    net = _network(network, url)
    before = {str(row["worker_id"]) for row in worker_rows(net) if row["state"] in {"running", "pending"}}
    net.stop_workers("kill" if kill else "terminate", workers or None)
    stopped = sorted(before & set(workers) if workers else before)
    show({"stopped": stopped}, "told to stop: " + (", ".join(stopped) or "no worker"), output)


@app.command()
def keep(
    network: NetworkId,
    once: Annotated[bool, typer.Option("--once", help="Look once and end, as for a timer.")] = False,
    pause: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks.")] = 30.0,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Submit workers again whose jobs were cut short, until none is left that runs, waits or may come again.

    Only those whose backend was told to resubmit, and only while the network has work. Run it where jobs are submitted.
    """
    from rush.manager.keeping import rounds

    submitted: list[str] = []
    for new in rounds(_network(network, url), pause):
        submitted += new
        if new and output is Format.TEXT:
            show(new, "submitted again: " + ", ".join(new), output)
        if once:
            break
    if output is Format.JSON or not submitted:
        show({"submitted": submitted}, "no worker was submitted again", output)


@app.command()
def logs(
    network: NetworkId,
    workers: WorkerIds = None,
    stderr: Annotated[
        bool, typer.Option("--stderr", help="The last lines of what their jobs and supervisors wrote.")
    ] = False,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Show what the workers of a network logged to the server."""
    net = _network(network, url)
    if stderr:
        _show_stderr(net, workers, output)
        return
    rows = _plain_rows(net.read_log(workers or None))
    show(rows, table(rows, list(rows[0])) if rows else "no log records", output)


def worker_rows(net: "Rush") -> list[dict[str, object]]:
    """Give one row for each worker, those included that were placed but have not registered."""
    return _plain_rows(net.worker_info)


def _network(network: str, url: str | None) -> "Rush":
    from rush.manager import Rush

    config = connected(url)
    known_network(config, network)
    return Rush(network, config)


def _plain_rows(frame: "pd.DataFrame") -> list[dict[str, object]]:
    import json

    rows: list[dict[str, object]] = json.loads(frame.to_json(orient="records", date_format="iso"))
    return rows


def _show_stderr(net: "Rush", workers: list[str] | None, output: Format) -> None:
    from rush.manager.watching import tails

    found = [(placement, tail) for placement, tail in tails(net) if not workers or {*workers} & {*placement.worker_ids}]
    text = "\n".join(f"==> {place.stderr} ({', '.join(place.worker_ids)})\n{tail.rstrip()}" for place, tail in found)
    rows = [{"workers": place.worker_ids, "stderr": place.stderr, "tail": tail} for place, tail in found]
    show(rows, text or "no supervisors", output)
