"""The command ``rush``: its nouns, each loaded when it is called, and how errors end it."""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rush.cli.output import say
from rush.errors import RushError
from rush.spelling import unknown_name

NOUNS = {
    "backend": "List, show and check backends and profiles.",
    "demo": "Tune a real model on real data with four workers on this machine.",
    "network": "List, show and reset networks.",
    "script": "Show a script or job script that starts a worker of a network.",
    "server": "Start, stop, find and check your private server.",
    "worker": "Start, run, list and stop workers, and read their logs.",
}
"""Each is a module of this package with a typer app named ``app``."""


class _Nouns(TyperGroup):
    """Lists nouns without loading them: `rush --help` answers at once."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        return [noun for noun in NOUNS if importlib.util.find_spec(f"rush.cli.{noun}") is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = typer.main.get_command(import_module(f"rush.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            ctx.fail(unknown_name("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(noun, NOUNS[noun]) for noun in self.list_commands(ctx)])


app = typer.Typer(
    cls=_Nouns,
    name="rush",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from rush.cli.output import Format, show

        version = importlib.metadata.version("rush-hpc")
        show(version, f"rush {version}", Format.TEXT)
        raise typer.Exit


@app.callback()
def _rush(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Asynchronous, decentralised computing over Redis: workers that share tasks and results."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; errors go to standard error, with exit code 1, wrong use has exit code 2."""
    command = typer.main.get_command(app)
    try:
        command(args=None if arguments is None else list(arguments), prog_name="rush")
    except (RushError, ValueError, TimeoutError, OSError) as error:
        say(f"rush: {error}")
        sys.exit(1)
