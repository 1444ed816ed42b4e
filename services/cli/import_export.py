"""`orrery import`: an export back into a collection, without embedding anything again."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.endpoint import DataDir, EndpointUrl, HeaderFrom, Patience, Timeout, Token, endpoint_of
from services.cli.transfers import DONE, REJECTED, run_transfer
from services.runtime.addresses import socket_address
from services.transfer.data_api import DataApi

if TYPE_CHECKING:
    from services.transfer.destinations import Destination
    from services.transfer.importing import ImportTotals
    from services.transfer.manifest import Manifest
    from services.transfer.rejects import Rejects

_BATCH_DOCUMENTS = 100
_BATCH_BYTES = 4 * 1024 * 1024


def import_export(
    export: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, or the one file, of an export.")],
    collection: Annotated[
        str | None, typer.Option("--collection", help="Another name for the collection than the exported one.")
    ] = None,
    keyspace: Annotated[str | None, typer.Option("--keyspace", help="Another keyspace than the exported one.")] = None,
    endpoint: EndpointUrl = "http://127.0.0.1:8181",
    token: Token = None,
    data_dir: DataDir = Path(".orrery"),
    store: Annotated[
        str | None, typer.Option("--store", envvar="ORRERY_STORE", help="Address of the store instead of --data-dir.")
    ] = None,
    database: Annotated[
        str,
        typer.Option(
            "--database",
            envvar="ORRERY_DATABASE",
            help="Name of the database in the store, where --endpoint is not http://DATABASE.localhost.",
        ),
    ] = "default",
    header_from: HeaderFrom = None,
    as_vectors: Annotated[
        bool,
        typer.Option("--as-vectors", help="Import over HTTP, for a store out of reach: vectors without their texts."),
    ] = False,
    text_field: Annotated[
        str | None, typer.Option(help="With --as-vectors: the field to keep the text of $vectorize in; else dropped.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Import into a collection of another model, dimension or metric.")
    ] = False,
    timeout: Timeout = 120.0,
    patience: Patience = 120.0,
) -> None:
    """Import what `orrery export` wrote: documents with their texts and vectors, as they were.

    Creates the collection as it was where it is missing. Documents that are there already are left as they are, so an
    import that was stopped is simply run again. Documents that are refused go to DIR.rejects.jsonl. Ends as
    `orrery load` does.
    """
    # Imported here: every service starts by this command line, and none needs what an import needs.
    from services.transfer.delivery import BatchSize, Inserting
    from services.transfer.destinations import StoreDestination, VectorsDestination
    from services.transfer.manifest import check_parts, read_manifest

    if text_field is not None and not as_vectors:
        raise typer.BadParameter(
            "it goes with --as-vectors; otherwise texts stay in $vectorize", param_hint="--text-field"
        )

    export = export.resolve()

    async def run() -> int:
        manifest, folder = read_manifest(export)
        check_parts(manifest, folder)
        name = collection or manifest.collection
        place = keyspace or manifest.keyspace
        reached = endpoint_of(endpoint, place, token, data_dir, header_from)
        async with DataApi(reached, timeout=timeout, patience=patience) as api:
            if as_vectors:
                await _prepare(api, manifest, name, force)
                inserting = Inserting(api, name, BatchSize(_BATCH_DOCUMENTS, _BATCH_BYTES))
                return await _import(manifest, folder, export, name, VectorsDestination(inserting, text_field))
            address = store or socket_address(data_dir, "store")
            into = reached.database or database
            async with StoreDestination(address, into, place, name, patience) as destination:
                await destination.check()
                await _prepare(api, manifest, name, force)
                return await _import(manifest, folder, export, name, destination)

    sys.exit(run_transfer(run()))


async def _prepare(api: DataApi, manifest: "Manifest", name: str, force: bool) -> None:
    from services.transfer.importing import prepare_collection

    for note in await prepare_collection(api, manifest, name, force=force):
        typer.echo(f"orrery: {note}", err=True)


async def _import(manifest: "Manifest", folder: Path, export: Path, name: str, destination: "Destination") -> int:
    from services.transfer.importing import import_documents
    from services.transfer.progress import Meter
    from services.transfer.rejects import Rejects, rejects_path

    # Every line is read again by every run, so none of an earlier one's rejects stands.
    rejects = Rejects(rejects_path(export), export.name, name, lambda _: True)
    try:
        with Meter(f"importing {name}", manifest.documents) as meter:
            totals = await import_documents(manifest, folder, destination, rejects, meter)
    finally:
        rejects.close()
    _tell(totals, name, rejects)
    return REJECTED if totals.rejected else DONE


def _tell(totals: "ImportTotals", name: str, rejects: "Rejects") -> None:
    typer.echo(
        f"imported {totals.loaded:,} documents into {name}, already there {totals.there:,}, "
        f"rejected {totals.rejected:,}"
    )
    if totals.rejected:
        typer.echo(f"rejected documents are in {rejects.path}")
