"""The `orrery` command line: one command for everything, one for each service, upkeep, transfers, and keys."""

import sys

import typer

from services.cli import backup, demo, export, import_export, keys, load, serve, upkeep
from services.runtime.errors import ConfigurationError, DataApiError

app = typer.Typer(
    name="orrery",
    help="A self-hosted Data API with server-side vectorize.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("up")(serve.up)
app.command("gateway")(serve.gateway)
app.command("embedder")(serve.embedder)
app.command("store")(serve.store)
app.command("demo")(demo.demo)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("stats")(upkeep.stats)
app.command("compact")(upkeep.compact)
app.command("load")(load.load)
app.command("export")(export.export_collection)
app.command("import")(import_export.import_export)
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run the command line; errors that have a message are shown as one, without a traceback."""
    try:
        app()
    except (DataApiError, ConfigurationError, ValueError, OSError) as error:
        typer.echo(f"orrery: {error}", err=True)
        sys.exit(1)
