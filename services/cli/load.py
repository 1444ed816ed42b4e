"""`orrery load`: rows of files into a collection."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from services.cli.transfers import DONE, REJECTED, run_transfer

if TYPE_CHECKING:
    from services.transfer.load_job import LoadJob


def load(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files to load; - is standard input.")],
    collection: CollectionName,
    keyspace: Keyspace = "default_keyspace",
    endpoint: EndpointUrl = "http://127.0.0.1:8181",
    token: Token = None,
    data_dir: DataDir = Path(".orrery"),
    header_from: HeaderFrom = None,
    format: Annotated[str | None, typer.Option(help="json, jsonl, csv or parquet; by default by the name.")] = None,
    vectorize: Annotated[str | None, typer.Option(metavar="FIELD", help="Field whose text becomes $vectorize.")] = None,
    drop_field: Annotated[bool, typer.Option("--drop-field", help="Leave that field itself out.")] = False,
    vector: Annotated[str | None, typer.Option(metavar="FIELD", help="Field that becomes $vector.")] = None,
    identifier: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="FIELD", help="Field that becomes _id; by default _id, else made of file name and row."
        ),
    ] = None,
    strings: Annotated[bool, typer.Option("--strings", help="CSV: every cell is text, empty ones too.")] = False,
    json_cells: Annotated[
        bool, typer.Option("--json-cells", help="CSV: cells of JSON objects and arrays are read as such.")
    ] = False,
    delimiter: Annotated[str | None, typer.Option(help="CSV: what is between cells; a tab for .tsv.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace documents that are there.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Batches on their way at a time.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Documents in one command at most.")] = 100,
    timeout: Timeout = 120.0,
    patience: Patience = 120.0,
    state: Annotated[
        Path | None, typer.Option(help="Where to note which rows are loaded; by default beside each file.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what is noted; load from the beginning.")] = False,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try rows again that an earlier run rejected.")
    ] = False,
    rejects_dir: Annotated[
        Path | None, typer.Option(help="Folder for FILE.rejects.jsonl; by default that of the file.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what there is to load, what it costs, what would be rejected.")
    ] = False,
) -> None:
    """Load JSON, JSON lines, CSV or Parquet into a collection of any Data API.

    Run again after it was stopped, however it was, it goes on where it stopped. Rows that are refused go to
    FILE.rejects.jsonl. Ends with 0 when all rows are loaded, 1 when some were rejected, 2 when it was asked for
    wrongly, 3 when it stopped before its end.
    """
    # Imported here: every service starts by this command line, and none needs what a load needs.
    from services.transfer.load_job import LoadJob
    from services.transfer.mapping import Mapping
    from services.transfer.sources.csv_rows import CsvStyle

    if drop_field and vectorize is None:
        raise typer.BadParameter("--drop-field is about the field of --vectorize", param_hint="--drop-field")
    if delimiter is not None and len(delimiter) != 1:
        raise typer.BadParameter("give one character", param_hint="--delimiter")
    separator = delimiter or ("\t" if all(name.removesuffix(".gz").endswith(".tsv") for name in files) else ",")
    text_fields, json_fields = frozenset(filter(None, [vectorize])), frozenset(filter(None, [vector]))
    style = CsvStyle(separator, not strings, json_cells, text_fields, json_fields)

    async def run() -> int:
        job = LoadJob(
            files=files,
            format=format,
            endpoint=endpoint_of(endpoint, keyspace, token, data_dir, header_from),
            collection=collection,
            mapping=Mapping(vectorize, vector, identifier, drop_field),
            style=style,
            replace=replace,
            batch=batch,
            concurrency=concurrency,
            timeout=timeout,
            patience=patience,
            state=state,
            restart=restart,
            retry_rejected=retry_rejected,
            rejects_dir=rejects_dir,
        )
        return await _forecast(job) if dry_run else await _load(job)

    sys.exit(run_transfer(run()))


async def _forecast(job: "LoadJob") -> int:
    from services.transfer.forecast import lines_of
    from services.transfer.load_job import forecast_load

    forecast = await forecast_load(job)
    for line in lines_of(forecast):
        typer.echo(line)
    return REJECTED if forecast.rejected else DONE


async def _load(job: "LoadJob") -> int:
    from services.transfer.load_job import run_load

    started = time.monotonic()
    totals = await run_load(job)
    seconds = time.monotonic() - started
    typer.echo(
        f"loaded {totals.loaded:,}, already there {totals.there:,}, rejected {totals.rejected:,}"
        + (f", done by earlier runs {totals.earlier:,}" if totals.earlier else "")
        + f", in {seconds:.1f} s ({(totals.loaded + totals.there) / max(seconds, 0.001):,.0f} documents/s)"
    )
    for path in totals.rejects:
        typer.echo(f"rejected rows are in {path}")
    if totals.earlier and not totals.tried:
        typer.echo("nothing was left to load: --restart loads from the beginning")
    return REJECTED if totals.rejected else DONE
