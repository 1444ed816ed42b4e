"""The `orrery` command line: one command for everything, one for each service, upkeep, transfers, and keys."""

import importlib
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from services.runtime.errors import ConfigurationError, DataApiError

#: Where each command is: module and name. A service starts by this command line and waits for its imports, so only
#: the command that was asked for is imported.
_COMMANDS = {
    "up": ("services.cli.up", "up"),
    "gateway": ("services.cli.serve", "gateway"),
    "embedder": ("services.cli.serve", "embedder"),
    "store": ("services.cli.serve", "store"),
    "demo": ("services.cli.demo", "demo"),
    "backup": ("services.cli.backup", "backup"),
    "restore": ("services.cli.backup", "restore"),
    "stats": ("services.cli.upkeep", "stats"),
    "compact": ("services.cli.upkeep", "compact"),
    "load": ("services.cli.load", "load"),
    "export": ("services.cli.export", "export_collection"),
    "import": ("services.cli.import_export", "import_export"),
    "keys": ("services.cli.keys", "app"),
    "certificates": ("services.cli.certificates", "certificates"),
}


class _Commands(TyperGroup):
    """The commands, each imported when it is run or its help is shown."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        # What is suggested for a name that is none.
        names: dict[str, Any] = dict.fromkeys(_COMMANDS)
        self.commands = names

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            command = typer.main.get_command(alone)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="orrery",
    cls=_Commands,
    help="A self-hosted Data API with server-side vectorize.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Make the application a group although its commands are found by name only."""


def main() -> None:
    """Run the command line; errors that have a message are shown as one, without a traceback."""
    try:
        app()
    except (DataApiError, ConfigurationError, ValueError, OSError) as error:
        typer.echo(f"orrery: {error}", err=True)
        sys.exit(1)
