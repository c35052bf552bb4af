"""``rush script``: a script that starts one worker of a network wherever it is run, or as a job."""

from typing import Annotated

import typer

from rush.cli.connection import LoopId, NetworkId, Url, Words, connected, known_network
from rush.cli.output import Format, Output, show

app = typer.Typer(rich_markup_mode=None)


@app.command()
def script(
    template: Annotated[
        str,
        typer.Argument(metavar="TEMPLATE", help="worker for any host, slurm, pbs, a profile, or a path of your own."),
    ],
    network: NetworkId,
    words: Words = None,
    loop: LoopId = None,
    url: Url = None,
    output: Output = Format.TEXT,
) -> None:
    """Show a script that starts one worker with a loop that the network holds.

    Save it, edit it, run or submit it as often as you want workers. No secret stands in it.

    Options of the job system go after --, as in: rush script slurm mynetwork -- --partition=cpu --time=02:00:00
    """
    from rush.manager import Rush
    from rush.manager.placing import stored_loop
    from rush.manager.scripts import stored_script

    config = connected(url)
    known_network(config, network)
    net = Rush(network, config)
    text = stored_script(net, template, stored_loop(net, loop), words or ())
    show({"script": text}, text.rstrip("\n"), output)
