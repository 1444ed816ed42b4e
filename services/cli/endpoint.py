"""Options of the commands that talk to a Data API: where it is, and what opens it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from services.transfer.data_api import Endpoint

CollectionName = Annotated[str, typer.Option("--collection", help="The collection.")]
Keyspace = Annotated[str, typer.Option("--keyspace", envvar="ORRERY_KEYSPACE", help="Its keyspace.")]
EndpointUrl = Annotated[
    str,
    typer.Option("--endpoint", envvar="ORRERY_ENDPOINT", help="URL of the Data API: Orrery, Astra, or any other."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="ORRERY_TOKEN",
        help="Token of the Data API; by default the one kept in --data-dir. The variable keeps it out of the process "
        "list.",
    ),
]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ORRERY_DATA_DIR", help="Data directory of a running `orrery up`.")
]
HeaderFrom = Annotated[
    list[str] | None,
    typer.Option(
        "--header-from",
        metavar="NAME=VAR",
        help="Send the header NAME with the value of a variable, such as x-embedding-api-key=KEY. May be repeated.",
    ),
]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds that one request may take.")]
Patience = Annotated[
    float, typer.Option("--patience", help="Seconds without any success after which the command gives up.")
]


def endpoint_of(url: str, keyspace: str, token: str | None, data_dir: Path, header_from: list[str] | None) -> Endpoint:
    """Return the endpoint of the options. A kept token goes to this machine only."""
    headers = dict(_header(item) for item in header_from or [])
    endpoint = Endpoint(url, keyspace, token, headers)
    kept = data_dir / "token"
    if token is None and endpoint.local and kept.is_file():
        return Endpoint(url, keyspace, kept.read_text().strip(), headers)
    return endpoint


def _header(item: str) -> tuple[str, str]:
    name, separator, variable = item.partition("=")
    if not name or not separator:
        raise typer.BadParameter("write NAME=VAR", param_hint="--header-from")
    if not os.environ.get(variable):
        raise typer.BadParameter(f"the variable {variable} is not set", param_hint="--header-from")
    return name, os.environ[variable]
