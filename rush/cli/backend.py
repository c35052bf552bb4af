"""``rush backend``: where workers can be put from here, by which options, and whether it works."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rush.cli.output import Format, Output, listing, show, table

if TYPE_CHECKING:
    from rush.backends import Backend

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List, show and check backends and profiles.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A backend, or a profile of rush.toml.")]


@app.command("list")
def list_(output: Output = Format.TEXT) -> None:
    """List the backends that are installed, and the profiles of rush.toml."""
    from rush.backends import backend_names
    from rush.config import load_settings

    settings = load_settings()
    rows: list[dict[str, object]] = [
        {"name": name, "kind": "backend", "about": _about(name)} for name in backend_names()
    ]
    rows += [
        {"name": name, "kind": f"profile of {profile['backend']}", "about": listing_of(profile)}
        for name, profile in settings.profiles.items()
    ]
    sources = [str(path) for path in settings.sources]
    text = table(rows, ("name", "kind", "about"))
    text += f"\n\nsettings: {', '.join(sources) or 'no rush.toml here or in your configuration folder'}"
    show({"backends": rows, "settings": sources}, text, output)


@app.command("show")
def show_(name: Name, output: Output = Format.TEXT) -> None:
    """Show the options of a backend or profile, and what it would run."""
    from rush.backends import find_backend
    from rush.backends.options import options_of

    backend = find_backend(name)
    options = options_of(backend)
    rows = [{**option, "value": _written(option["value"])} for option in options]
    preview = _preview(backend)
    parts = [f"{name}: {_summary(type(backend))}", table(rows, ("option", "value", "meaning"))]
    parts += [f"What one worker would run\n{preview}"] if preview else []
    values = {str(option["option"]): option["value"] for option in options}
    show({"name": name, "backend": backend.name, "options": values, "preview": preview}, "\n\n".join(parts), output)


@app.command()
def check(name: Name, output: Output = Format.TEXT) -> None:
    """Look whether a backend or profile can be used from here; nothing is submitted."""
    from rush.backends import find_backend

    backend = find_backend(name)
    found = dict(backend.check())
    text = "\n".join(filter(None, (f"{name} can be used from here", listing(found))))
    text += f"\nWhether its workers reach your server: rush server check --backend {name}"
    show({"name": name, "backend": backend.name, "ok": True, **found}, text, output)


def listing_of(profile: "dict[str, Any] | Any") -> str:
    """Write the options of a profile on one line."""
    return ", ".join(f"{name}={_written(value)}" for name, value in profile.items() if name != "backend")


def _about(name: str) -> str:
    """Say what a backend does, or what it takes to use it."""
    from rush.backends.registry import backend_class
    from rush.errors import MissingDependency

    try:
        return _summary(backend_class(name))
    except MissingDependency as error:
        return f"not usable: {error}"


def _summary(kind: type) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _written(value: object) -> str:
    return "" if value is None or value == () else str(value)


def _preview(backend: "Backend") -> str:
    from rush.model import WorkerCommand

    words = ("-m", "rush.worker", "--network", "NETWORK", "--loop", "LOOP", "--worker", "WORKER")
    return backend.preview([WorkerCommand("NETWORK", ("WORKER",), words, b"")]).rstrip()
