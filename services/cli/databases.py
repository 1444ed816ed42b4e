"""`orrery databases`: create, list and drop databases."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from orrery.store.v1 import access_pb2 as pb
from rich.table import Table

from services.cli.access import call_access, shown_time
from services.cli.calls import Running, RunningDataDir, print_table
from services.cli.options import Domain, Region
from services.cli.store import StoreAddress
from services.runtime.errors import DataApiError

app = typer.Typer(help="Create, list and drop databases.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the database: 1 to 50 letters a-z, digits and '-'.")]
EmbedderAddress = Annotated[
    str | None,
    typer.Option("--embedder", envvar="ORRERY_EMBEDDER", help="Address of the embedder instead of --data-dir."),
]
Default = Annotated[str, typer.Option("--default", envvar="ORRERY_DATABASE", help="Name of the default database.")]

#: Large files take a while to be removed.
_DROP_SECONDS = 600.0


@app.command()
def create(
    name: Name,
    keyspace: Annotated[
        list[str] | None, typer.Option("--keyspace", help="A first keyspace; by default default_keyspace.")
    ] = None,
    domain: Domain = None,
    region: Region = "local",
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Create a database. It is served at once, under its host name."""
    from services.gateway.hosts import host_settings

    request = pb.CreateDatabaseRequest(name=name, keyspaces=keyspace or [])
    created = call_access(data_dir, store, "CreateDatabase", request).database
    host = host_settings(domain, region).endpoint(name)
    typer.echo(f"created database {name} (id {created.id}), served as {host}")


@app.command("list")
def list_databases(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """List the databases with their keyspaces and how many collections they have."""
    listed = call_access(data_dir, store, "ListDatabases", pb.ListDatabasesRequest()).databases
    if as_json:
        typer.echo(json.dumps([_described(item) for item in listed]))
        return
    table = Table("database", "id", "state", "keyspaces", "collections", "created")
    for item in listed:
        database = item.database
        names = ", ".join(keyspace.name for keyspace in item.keyspaces)
        count = sum(len(keyspace.collections) for keyspace in item.keyspaces)
        table.add_row(database.name, database.id, _state(database), names, str(count), shown_time(database.create_time))
    print_table(table)


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    default: Default = "default",
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
    embedder: EmbedderAddress = None,
) -> None:
    """Drop a database: its keyspaces, collections and documents, its tokens, and its place in the scopes of keys.

    Tokens that open other databases too stay, and lose this one. What is interrupted is finished by a running gateway,
    or by giving the command again.
    """
    if name == default:
        raise ValueError(f"{name} is the default database, which is always there; drop its keyspaces instead")
    listed = call_access(data_dir, store, "ListDatabases", pb.ListDatabasesRequest()).databases
    found = next((item for item in listed if item.database.name == name), None)
    if found is not None and not found.database.dropping:
        tokens = call_access(data_dir, store, "ListTokens", pb.ListTokensRequest()).tokens
        typer.echo(_what_goes(found, tokens), err=True)
        if not yes and not _confirmed(name):
            raise typer.Exit(1)
    request = pb.DropDatabaseRequest(name=name, id=found.database.id if found is not None else "")
    dropped = call_access(data_dir, store, "DropDatabase", request, seconds=_DROP_SECONDS)
    typer.echo(f"dropped database {name}")
    forgetting = embedder_pb2.ForgetDatabaseRequest(database=name, database_id=dropped.database.id)
    try:
        forgotten = Running("embedder", data_dir, embedder).call(_forget_database, forgetting)
    except (DataApiError, ConnectionError) as problem:
        typer.echo(f"keys may name it still ({problem}): a gateway that runs takes it out of their scopes", err=True)
        return
    call_access(data_dir, store, "FinishDrop", pb.FinishDropRequest(id=dropped.database.id))
    if forgotten.remaining:
        keys = ", ".join(f"{key.provider}/{key.name}" for key in forgotten.remaining)
        typer.echo(f"its name is still in the directory of credentials, for {keys}: take it out there", err=True)


def _confirmed(name: str) -> bool:
    """Ask whether to go on, by the name, where somebody can answer. Raises `ValueError` where nobody can."""
    if not sys.stdin.isatty():
        raise ValueError("nothing was dropped: give --yes, because there is nobody to ask")
    return bool(typer.prompt("Type its name to drop it, with all of this", err=True) == name)


def _what_goes(item: pb.DatabaseContents, tokens: Iterable[pb.Token]) -> str:
    name = item.database.name
    lines = [f"database {name} (id {item.database.id}) has"]
    for keyspace in item.keyspaces:
        collections = ", ".join(keyspace.collections) or "no collections"
        lines.append(f"  keyspace {keyspace.name}: {collections}")
    alone = [token for token in tokens if list(token.databases) == [name]]
    lines.extend(f"  token {token.id} ({token.name or 'no name'}), of this database alone" for token in alone)
    return "\n".join(lines if len(lines) > 1 else [f"{lines[0]} nothing in it"])


def _described(item: pb.DatabaseContents) -> dict[str, Any]:
    return {
        "name": item.database.name,
        "id": item.database.id,
        "state": _state(item.database),
        "created": shown_time(item.database.create_time),
        "keyspaces": {keyspace.name: list(keyspace.collections) for keyspace in item.keyspaces},
    }


def _state(database: pb.Database) -> str:
    return "being dropped" if database.dropping else "there"


def _forget_database(channel: grpc.Channel) -> Any:
    # The stub's methods are set on the instance, where the type stubs do not show them.
    stub: Any = embedder_pb2_grpc.CredentialServiceStub(channel)
    return stub.ForgetDatabase
