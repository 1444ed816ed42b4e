"""`orrery backup` and `orrery restore`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from orrery.store.v1 import operations_pb2 as pb

from services.cli.calls import RunningDataDir
from services.cli.store import Database, StoreAddress, human_bytes, last_event, running_store


def backup(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder to make; it must not exist. It is on the store's machine."),
    ],
    database: Database = "default",
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Back a database up into a new folder while it is read and written.

    The backup is of one moment: all that was acknowledged before the command was given is in it. The folder appears
    once it is whole and on disk; an interrupted backup leaves nothing. Keys of providers are not in it.
    """
    target = folder.absolute()
    request = pb.BackupDatabaseRequest(database=database, folder=str(target))
    made = last_event(running_store(data_dir, store), "BackupDatabase", request, f"backing {database} up")
    typer.echo(f"backed {database} up to {target}: {_described(made.backup)}")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a backup, on the store's machine.")],
    database: Annotated[
        str, typer.Option("--database", help="Database to restore into; by default the one that was backed up.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace collections of the same names; otherwise they are refused.")
    ] = False,
    data_dir: RunningDataDir = Path(".orrery"),
    store: StoreAddress = None,
) -> None:
    """Restore a database from a backup while the server runs.

    Every file is checked before anything is changed, and all collections appear at once. Collections of the database
    that the backup does not have stay as they are.
    """
    source = folder.absolute()
    request = pb.RestoreDatabaseRequest(folder=str(source), database=database, replace=replace)
    made = last_event(running_store(data_dir, store), "RestoreDatabase", request, "restoring")
    into = database or made.backup.database
    typer.echo(f"restored {into} from {source} of {made.backup.created}: {_described(made.backup)}")


def _described(made: Any) -> str:
    documents = sum(collection.documents for collection in made.collections)
    size = sum(collection.bytes for collection in made.collections)
    return f"{len(made.collections)} collections, {documents:,} documents, {human_bytes(size)}"
