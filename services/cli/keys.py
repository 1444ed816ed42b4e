"""`orrery keys`: the credentials of the embedding providers."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.timestamp_pb2 import Timestamp
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc
from rich.table import Table

from services.cli.calls import Running, RunningDataDir, print_table

app = typer.Typer(
    help="Store, list, scope, rotate and remove the credentials of embedding providers.", no_args_is_help=True
)

Provider = Annotated[str, typer.Argument(help="Id of the provider, such as huggingface or jinaAI.")]
Name = Annotated[str, typer.Argument(help="Name of the key: 1 to 50 letters, digits, '_' and '-'.")]
Address = Annotated[
    str | None,
    typer.Option("--embedder", envvar="ORRERY_EMBEDDER", help="Address of the embedder instead of --data-dir."),
]
FromEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--from-env",
        help="Variable that holds the secret; SECRET=VAR for a key of several, once for each.",
        metavar="VAR",
    ),
]


@app.command()
def add(
    provider: Provider,
    name: Name,
    database: Annotated[list[str], typer.Option("--database", help="Database that may use it. May be repeated.")],
    from_env: FromEnv = None,
    data_dir: RunningDataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """Store a key.

    Its secrets come from hidden prompts, from lines of standard input (one a secret), or from variables.
    """
    names = _secret_names(provider, data_dir, embedder)
    secrets = _read_secrets(provider, name, names, from_env or [])
    request = embedder_pb2.CreateCredentialRequest(provider=provider, name=name, secrets=secrets, databases=database)
    response = _call(data_dir, embedder, lambda channel: _credentials(channel).CreateCredential, request)
    typer.echo(f"added {_describe(response.credential)}")


@app.command("list")
def list_keys(
    provider: Annotated[str, typer.Option(help="Only the keys of this provider.")] = "",
    data_dir: RunningDataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """List the keys with the databases that may use them; never their secrets."""
    request = embedder_pb2.ListCredentialsRequest(provider=provider)
    response = _call(data_dir, embedder, lambda channel: _credentials(channel).ListCredentials, request)
    table = Table("provider", "name", "databases", "secret", "created", "last used")
    for credential in response.credentials:
        used = _time(credential.last_use_time) if credential.HasField("last_use_time") else "never"
        databases = ", ".join(credential.databases)
        created = _time(credential.create_time)
        table.add_row(credential.provider, credential.name, databases, _versions(credential), created, used)
    print_table(table)


@app.command()
def scope(
    provider: Provider,
    name: Name,
    add: Annotated[list[str] | None, typer.Option("--add", help="Database to add. May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Database to take out.")] = None,
    data_dir: RunningDataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """Change which databases may use a key."""
    if not add and not remove:
        raise typer.BadParameter("give --add DB or --remove DB")
    response: Any = None
    if add:
        widening = embedder_pb2.AddDatabasesRequest(provider=provider, name=name, databases=add)
        response = _call(data_dir, embedder, lambda channel: _credentials(channel).AddDatabases, widening)
    if remove:
        narrowing = embedder_pb2.RemoveDatabasesRequest(provider=provider, name=name, databases=remove)
        response = _call(data_dir, embedder, lambda channel: _credentials(channel).RemoveDatabases, narrowing)
    typer.echo(f"changed {_describe(response.credential)}")


@app.command()
def rotate(
    provider: Provider,
    name: Name,
    stage: Annotated[bool, typer.Option("--stage", help="Only put the new secret beside the one in use.")] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Use the other secret: the next, or the last again.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Drop the secret that is not in use.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Drop it for the new one.")] = False,
    from_env: FromEnv = None,
    data_dir: RunningDataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """Change a key's secret without a pause: the new one is used from the next call on, the old one stays beside it.

    Calls under way end with the secret they began with. The new secret comes as with `add`; --switch goes back to the
    old one, and --drop forgets it once the provider has withdrawn it.
    """
    if stage + switch + drop > 1:
        raise typer.BadParameter("give one of --stage, --switch and --drop")
    if (switch or drop) and (replace or from_env):
        raise typer.BadParameter("--replace and --from-env are for a new secret, without --switch and --drop")
    if switch or drop:
        number = _beside(provider, name, data_dir, embedder)
        kind = embedder_pb2.ActivateSecretRequest if switch else embedder_pb2.DropSecretRequest
        changing = kind(provider=provider, name=name, version=number)
        response = _call(
            data_dir,
            embedder,
            lambda channel: _credentials(channel).ActivateSecret if switch else _credentials(channel).DropSecret,
            changing,
        )
    else:
        secrets = _read_secrets(provider, name, _secret_names(provider, data_dir, embedder), from_env or [])
        staging = embedder_pb2.StageSecretRequest(
            provider=provider, name=name, secrets=secrets, activate=not stage, replace=replace
        )
        response = _call(data_dir, embedder, lambda channel: _credentials(channel).StageSecret, staging)
    typer.echo(f"changed {provider} key {name}: secret {_versions(response.credential)}")


@app.command()
def usage(
    since: Annotated[str, typer.Option(help="First day, as 2026-11-21 (UTC); by default the first of the month.")] = "",
    data_dir: RunningDataDir = Path(".orrery"),
    embedder: Address = None,
) -> None:
    """List what the keys were used for, by day, database and model; cost by the catalogue's prices."""
    request = embedder_pb2.ListUsageRequest(first_day=since)
    response = _call(data_dir, embedder, lambda channel: _embedder(channel).ListUsage, request)
    columns = ("day", "provider", "key", "database", "model", "calls", "texts", "cached", "tokens", "saved", "USD")
    table = Table(*columns)
    for item in response.records:
        who = (item.day, item.provider, item.key or "of requests", item.database, item.model)
        figures = (item.calls, item.texts, item.cached_texts, item.tokens, item.saved_tokens)
        table.add_row(*who, *(f"{figure:,}" for figure in figures), f"{item.cost:.4f}")
    print_table(table)


@app.command()
def audit(data_dir: RunningDataDir = Path(".orrery")) -> None:
    """Print the audit log: a line of JSON for every change of a key, never its secret. No server has to run."""
    # Below the directory of `orrery up`, or in that of an embedder that runs alone.
    paths = [data_dir / "embedder" / "audit.log", data_dir / "audit.log"]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise FileNotFoundError(f"there is no audit log below {data_dir}: no key has been changed yet")
    with path.open(encoding="utf-8") as file:
        for line in file:
            typer.echo(line, nl=False)


@app.command()
def remove(
    provider: Provider, name: Name, data_dir: RunningDataDir = Path(".orrery"), embedder: Address = None
) -> None:
    """Remove a key. Collections that use it cannot embed until a key of the same name and scope is added."""
    request = embedder_pb2.DeleteCredentialRequest(provider=provider, name=name)
    _call(data_dir, embedder, lambda channel: _credentials(channel).DeleteCredential, request)
    typer.echo(f"removed {provider} key {name}")


def _secret_names(provider: str, data_dir: Path, address: str | None) -> list[str]:
    """Return the names of the secrets that a key of a provider has; the usual one where it takes no stored keys."""
    request = embedder_pb2.ListProvidersRequest()
    response = _call(data_dir, address, lambda channel: _embedder(channel).ListProviders, request)
    names = [
        token.accepted
        for item in response.providers
        if item.id == provider
        for way in item.authentications
        if way.type == embedder_pb2.AUTHENTICATION_TYPE_SHARED_SECRET
        for token in way.tokens
    ]
    return names or ["providerKey"]


def _read_secrets(provider: str, name: str, names: list[str], variables: list[str]) -> dict[str, str]:
    if variables:
        return _from_variables(names, variables)
    if sys.stdin.isatty():
        what = {item: "Secret" if len(names) == 1 else item for item in names}
        return {item: str(typer.prompt(f"{what[item]} of {provider} key {name}", hide_input=True)) for item in names}
    secrets = {item: sys.stdin.readline().strip() for item in names}
    missing = [item for item, secret in secrets.items() if not secret]
    if missing:
        lines = f"; {provider} takes {' and '.join(names)}, each on a line" if len(names) > 1 else ""
        raise typer.BadParameter(f"no secret came on standard input{lines}")
    return secrets


def _from_variables(names: list[str], variables: list[str]) -> dict[str, str]:
    pairs = [item.rpartition("=") for item in variables]
    given = {token or names[0]: variable for token, _, variable in pairs}
    if set(given) != set(names) or len(given) != len(variables):
        wanted = " ".join(f"--from-env {item}=VAR" for item in names) if len(names) > 1 else "--from-env VAR"
        raise typer.BadParameter(f"give {wanted}", param_hint="--from-env")
    for variable in given.values():
        if not os.environ.get(variable):
            raise typer.BadParameter(f"the variable {variable} is not set", param_hint="--from-env")
    return {token: os.environ[variable] for token, variable in given.items()}


def _beside(provider: str, name: str, data_dir: Path, address: str | None) -> int:
    """Return the number of the secret that is not in use; 0 for a key that has no numbers or is not there."""
    request = embedder_pb2.ListCredentialsRequest(provider=provider)
    response = _call(data_dir, address, lambda channel: _credentials(channel).ListCredentials, request)
    for credential in response.credentials:
        if credential.name == name and credential.versions:
            numbers = [version.number for version in credential.versions if not version.active]
            if not numbers:
                raise ValueError(
                    f"{provider} key {name} has one secret only: put another beside it with "
                    f"`orrery keys rotate {provider} {name} --stage`"
                )
            return int(numbers[0])
    return 0


def _versions(credential: embedder_pb2.Credential) -> str:
    if credential.source == embedder_pb2.CREDENTIAL_SOURCE_DIRECTORY:
        return "from the directory"
    active = [str(version.number) for version in credential.versions if version.active]
    beside = [str(version.number) for version in credential.versions if not version.active]
    return " ".join(active) + (f" in use, {' '.join(beside)} beside it" if beside else " in use")


def _time(timestamp: Timestamp) -> str:
    return timestamp.ToDatetime().isoformat(timespec="seconds") + "Z"


def _describe(credential: embedder_pb2.Credential) -> str:
    databases = ", ".join(credential.databases) or "no database"
    return f"{credential.provider} key {credential.name}, usable by {databases}"


def _credentials(channel: grpc.Channel) -> Any:
    return embedder_pb2_grpc.CredentialServiceStub(channel)


def _embedder(channel: grpc.Channel) -> Any:
    return embedder_pb2_grpc.EmbedderServiceStub(channel)


def _call(data_dir: Path, address: str | None, method: Callable[[grpc.Channel], Any], request: object) -> Any:
    """Call an RPC of a running embedder; raises the catalogue's error or `ConnectionError`."""
    return Running("embedder", data_dir, address).call(method, request)
