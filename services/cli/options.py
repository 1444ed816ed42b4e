"""Options that `orrery up` and the commands of the services share."""

import os
from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ORRERY_DATA_DIR", help="Folder that holds everything that is kept.")
]
Http = Annotated[str, typer.Option("--http", envvar="ORRERY_HTTP", help="HOST:PORT of the Data API.")]
Database = Annotated[
    str,
    typer.Option("--database", envvar="ORRERY_DATABASE", help="The database of requests whose host name names none."),
]
Domain = Annotated[
    str | None,
    typer.Option("--domain", envvar="ORRERY_DOMAIN", help="Domain whose host names DATABASE-REGION.DOMAIN are served."),
]
Region = Annotated[str, typer.Option("--region", envvar="ORRERY_REGION", help="The region in those host names.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="ORRERY_TOKEN",
        help="Token that callers send in the header Token. The variable keeps it out of the process list.",
    ),
]
NoAuth = Annotated[bool, typer.Option("--no-auth", envvar="ORRERY_NO_AUTH", help="Ask for no token; on loopback only.")]
LogLevel = Annotated[str, typer.Option("--log-level", envvar="ORRERY_LOG_LEVEL", help="debug, info, warning or error.")]
Limit = Annotated[
    list[str] | None,
    typer.Option("--limit", help="NAME=VALUE of a Data API limit; docs/limits.md lists them. May be repeated."),
]


def read_limits(items: list[str] | None) -> dict[str, str]:
    """Return the limits of `ORRERY_LIMIT_<NAME>` and `--limit NAME=VALUE`, the latter winning."""
    prefix = "ORRERY_LIMIT_"
    values = {name.removeprefix(prefix).lower(): value for name, value in os.environ.items() if name.startswith(prefix)}
    for item in items or []:
        name, separator, value = item.partition("=")
        if not separator:
            raise typer.BadParameter(f"{item!r}: write NAME=VALUE", param_hint="--limit")
        values[name] = value
    return values
