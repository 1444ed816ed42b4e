"""`orrery tokens`: make, list and revoke the tokens of the Data API."""

import json
import re
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration
from orrery.store.v1 import access_pb2 as pb
from rich.table import Table

from services.cli.access import call_access, shown_time
from services.cli.calls import RunningDataDir, print_table
from services.cli.store import StoreAddress
from services.runtime.roles import Role

app = typer.Typer(help="Make, list and revoke the tokens of the Data API.", no_args_is_help=True)

_ROLES = {Role.READ: pb.ROLE_READ, Role.WRITE: pb.ROLE_WRITE, Role.ADMIN: pb.ROLE_ADMIN}
_ROLE_NAMES = {number: str(role) for role, number in _ROLES.items()}
_LIFETIME = re.compile(r"([0-9]{1,9})([smhdw])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "",
    role: Annotated[
        Role,
        typer.Option(
            "--role",
            help="read: find, count, list. write: also insert, update, delete. "
            "admin: also create and drop collections and keyspaces.",
        ),
    ] = Role.READ,
    database: Annotated[
        list[str] | None, typer.Option("--database", help="A database that it opens. May be repeated.")
    ] = None,
    all_databases: Annotated[
        bool, typer.Option("--all-databases", help="It opens every database, later ones too.")
    ] = False,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests a second that each gateway takes with it.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="How long it is valid, such as 12h or 90d.")
    ] = None,
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Make a token, and print it: this is the only time that it is shown."""
    if bool(database) == all_databases:
        raise typer.BadParameter("give --database, once for each, or --all-databases")
    request = pb.CreateTokenRequest(
        name=name, role=_ROLES[role], all_databases=all_databases, databases=database or [], requests_per_second=rate
    )
    if expires is not None:
        request.lifetime.CopyFrom(Duration(seconds=_lifetime(expires)))
    made = call_access(data_dir, store, "CreateToken", request)
    typer.echo(f"made {_opens(made.token)}, shown this once:", err=True)
    typer.echo(made.secret)


@app.command("list")
def list_tokens(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """List the tokens; never what is sent. The token of ORRERY_TOKEN, or of the data directory, is not among them."""
    tokens = call_access(data_dir, store, "ListTokens", pb.ListTokensRequest()).tokens
    if as_json:
        typer.echo(json.dumps([_described(token) for token in tokens]))
        return
    table = Table("id", "name", "role", "databases", "rate", "created", "expires")
    for token in tokens:
        rate = f"{token.requests_per_second:g}/s" if token.HasField("requests_per_second") else "-"
        table.add_row(
            token.id,
            token.name,
            _ROLE_NAMES[token.role],
            _databases(token),
            rate,
            shown_time(token.create_time),
            _expiry(token),
        )
    print_table(table)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="Id of the token, as `orrery tokens list` shows it.")],
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Revoke a token. Gateways refuse it within about a second."""
    call_access(data_dir, store, "RevokeToken", pb.RevokeTokenRequest(id=token))
    typer.echo(f"revoked token {token}")


def _lifetime(text: str) -> int:
    form = _LIFETIME.fullmatch(text)
    if form is None:
        raise typer.BadParameter("write a number and s, m, h, d or w, such as 90d", param_hint="--expires")
    return int(form[1]) * _UNIT_SECONDS[form[2]]


def _opens(token: pb.Token) -> str:
    return f"token {token.id}, which opens {_databases(token)} to {_ROLE_NAMES[token.role]}"


def _databases(token: pb.Token) -> str:
    return "all databases" if token.all_databases else ", ".join(token.databases)


def _expiry(token: pb.Token) -> str:
    if not token.HasField("expire_time"):
        return "never"
    expired = " (expired)" if token.expire_time.ToSeconds() <= time.time() else ""
    return shown_time(token.expire_time) + expired


def _described(token: pb.Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "role": _ROLE_NAMES[token.role],
        "databases": None if token.all_databases else list(token.databases),
        "requestsPerSecond": token.requests_per_second if token.HasField("requests_per_second") else None,
        "created": shown_time(token.create_time),
        "expires": shown_time(token.expire_time) if token.HasField("expire_time") else None,
    }
