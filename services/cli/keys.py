"""`orrery keys`: the credentials of the embedding providers."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from rich.console import Console
from rich.table import Table

from services.runtime.addresses import socket_address
from services.runtime.rpc import error_from_call

app = typer.Typer(help="Store, list, scope and remove the credentials of embedding providers.", no_args_is_help=True)

_CALL_SECONDS = 10.0

Provider = Annotated[str, typer.Argument(help="Id of the provider, such as huggingface or jinaAI.")]
Name = Annotated[str, typer.Argument(help="Name of the key: 1 to 50 letters, digits, '_' and '-'.")]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="ORRERY_DATA_DIR", help="Data directory of a running `orrery up`.")
]
Address = Annotated[
    str | None,
    typer.Option("--embedder", envvar="ORRERY_EMBEDDER", help="Address of the embedder instead of --data-dir."),
]


@app.command()
def add(
    provider: Provider,
    name: Name,
    database: Annotated[list[str], typer.Option("--database", help="Database that may use it. May be repeated.")],
    from_env: Annotated[
        str | None, typer.Option("--from-env", help="Variable that holds the secret.", metavar="VAR")
    ] = None,
    token_name: Annotated[
        str, typer.Option("--token-name", help="Which of the provider's tokens this is.")
    ] = "providerKey",  # noqa: S107 - the name of a token, not a token
    data_dir: DataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """Store a key. The secret comes from a hidden prompt, from standard input, or from a variable."""
    secret = _read_secret(provider, name, from_env)
    request = embedder_pb2.CreateCredentialRequest(
        provider=provider, name=name, secrets={token_name: secret}, databases=database
    )
    response = _call(data_dir, embedder, lambda stub: stub.CreateCredential, request)
    typer.echo(f"added {_describe(response.credential)}")


@app.command("list")
def list_keys(
    provider: Annotated[str, typer.Option(help="Only the keys of this provider.")] = "",
    data_dir: DataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """List the keys with the databases that may use them; never their secrets."""
    request = embedder_pb2.ListCredentialsRequest(provider=provider)
    response = _call(data_dir, embedder, lambda stub: stub.ListCredentials, request)
    table = Table("provider", "name", "databases", "created")
    for credential in response.credentials:
        created = credential.create_time.ToDatetime().isoformat(timespec="seconds") + "Z"
        table.add_row(credential.provider, credential.name, ", ".join(credential.databases), created)
    Console().print(table)


@app.command()
def scope(
    provider: Provider,
    name: Name,
    add: Annotated[list[str] | None, typer.Option("--add", help="Database to add. May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Database to take out.")] = None,
    data_dir: DataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """Change which databases may use a key."""
    if not add and not remove:
        raise typer.BadParameter("give --add DB or --remove DB")
    response: Any = None
    if add:
        widening = embedder_pb2.AddDatabasesRequest(provider=provider, name=name, databases=add)
        response = _call(data_dir, embedder, lambda stub: stub.AddDatabases, widening)
    if remove:
        narrowing = embedder_pb2.RemoveDatabasesRequest(provider=provider, name=name, databases=remove)
        response = _call(data_dir, embedder, lambda stub: stub.RemoveDatabases, narrowing)
    typer.echo(f"changed {_describe(response.credential)}")


@app.command()
def remove(provider: Provider, name: Name, data_dir: DataDir = Path(".orrery"), embedder: Address = None) -> None:
    """Remove a key. Collections that use it cannot embed until a key of the same name and scope is added."""
    request = embedder_pb2.DeleteCredentialRequest(provider=provider, name=name)
    _call(data_dir, embedder, lambda stub: stub.DeleteCredential, request)
    typer.echo(f"removed {provider} key {name}")


def _read_secret(provider: str, name: str, variable: str | None) -> str:
    if variable is not None:
        secret = os.environ.get(variable, "")
        if not secret:
            raise typer.BadParameter(f"the variable {variable} is not set", param_hint="--from-env")
        return secret
    if sys.stdin.isatty():
        return str(typer.prompt(f"Secret of {provider} key {name}", hide_input=True))
    secret = sys.stdin.readline().strip()
    if not secret:
        raise typer.BadParameter("no secret came on standard input")
    return secret


def _describe(credential: embedder_pb2.Credential) -> str:
    databases = ", ".join(credential.databases) or "no database"
    return f"{credential.provider} key {credential.name}, usable by {databases}"


def _call(data_dir: Path, address: str | None, method: Callable[[Any], Any], request: object) -> Any:
    """Call a credential RPC of a running embedder; raises the catalogue's error or `ConnectionError`."""
    target = address or socket_address(data_dir, "embedder")
    with grpc.insecure_channel(target) as channel:
        stub = embedder_pb2_grpc.CredentialServiceStub(channel)
        try:
            return method(stub)(request, timeout=_CALL_SECONDS)
        except grpc.RpcError as failure:
            error = error_from_call(failure)
            if error is not None:
                raise error from None
            raise ConnectionError(
                f"no embedder answers at {target}: start one with `orrery up --data-dir {data_dir}`"
            ) from None
