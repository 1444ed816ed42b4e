"""`orrery export`: a collection into files, its vectors included."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.cli.endpoint import (
    CollectionName,
    DataDir,
    EndpointUrl,
    HeaderFrom,
    Keyspace,
    Patience,
    Timeout,
    Token,
    endpoint_of,
)
from services.cli.transfers import DONE, run_transfer
from services.transfer.data_api import DataApi


def export_collection(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="A folder; or one file, OUT.jsonl or OUT.jsonl.gz.")],
    collection: CollectionName,
    keyspace: Keyspace = "default_keyspace",
    endpoint: EndpointUrl = "http://127.0.0.1:8181",
    token: Token = None,
    data_dir: DataDir = Path(".orrery"),
    header_from: HeaderFrom = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Take the place of what is there.")] = False,
    part_documents: Annotated[int, typer.Option(min=1, help="Documents in one file of the folder.")] = 10_000,
    timeout: Timeout = 60.0,
    patience: Patience = 120.0,
) -> None:
    """Export a collection of any Data API: its documents, texts and vectors, and what they were made with.

    The output appears when it is whole, with a checksum of each part. Documents that are written while it runs may be
    in it or not.
    """
    # Imported here: every service starts by this command line, and none needs what an export needs.
    from services.transfer.exporting import definition_of, export
    from services.transfer.progress import Meter

    async def run() -> int:
        reached = endpoint_of(endpoint, keyspace, token, data_dir, header_from)
        async with DataApi(reached, timeout=timeout, patience=patience) as api:
            definition = await definition_of(api, collection)
            count = (await api.run("estimatedDocumentCount", {}, collection)).status.get("count")
            with Meter(f"exporting {collection}", count or None) as meter:
                manifest = await export(
                    api,
                    collection,
                    definition,
                    output.resolve(),
                    meter,
                    overwrite=overwrite,
                    part_documents=part_documents,
                )
        size = sum(part.bytes for part in manifest.parts)
        typer.echo(
            f"exported {manifest.documents:,} documents with {manifest.vectors:,} vectors and {manifest.texts:,} texts "
            f"to {output} (parts: {len(manifest.parts)}; bytes: {size:,})"
        )
        return DONE

    sys.exit(run_transfer(run()))
