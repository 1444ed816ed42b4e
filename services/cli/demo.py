"""`orrery demo`: see it work."""

import typer
from rich.console import Console

from services.demo.run import DemoError, run_demo


def demo() -> None:
    """Start a server in a temporary folder, load the solar system, search it by text, and stop."""
    try:
        run_demo(Console())
    except DemoError as error:
        typer.echo(f"orrery demo: {error}", err=True)
        raise typer.Exit(1) from error
