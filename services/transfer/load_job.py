"""A whole load, from what was asked for to its totals or its forecast."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.embedder.catalogue import CatalogueSettings, load_catalogue
from services.embedder.settings import load_settings
from services.transfer.data_api import DataApi, Endpoint
from services.transfer.delivery import BatchSize, Delivery, Inserting, Replacing
from services.transfer.errors import RefusedError, TransferError, UsageError
from services.transfer.forecast import Forecast, Forecaster
from services.transfer.journal import Journal, journal_path
from services.transfer.loading import Input, Loading, Totals
from services.transfer.mapping import Mapping
from services.transfer.progress import Meter
from services.transfer.sources import Rejection
from services.transfer.sources.csv_rows import CsvStyle
from services.transfer.sources.opening import STDIN, format_of, open_source

#: A fifth of the body that a Data API takes: a batch may go over it by one document.
_BATCH_BYTES = 4 * 1024 * 1024
#: Replaced one after the other: smaller batches keep all connections busy to the end.
_REPLACE_DOCUMENTS = 10


@dataclass(frozen=True, slots=True)
class LoadJob:
    """What to load, from where, to where, and how.

    `state` is the journal to use instead of one beside each file. `batch` is the most documents of one command.
    """

    files: Sequence[str]
    format: str | None
    endpoint: Endpoint
    collection: str
    mapping: Mapping
    style: CsvStyle
    replace: bool = False
    batch: int = 100
    concurrency: int = 4
    timeout: float = 120.0
    patience: float = 120.0
    state: Path | None = None
    restart: bool = False
    retry_rejected: bool = False
    rejects_dir: Path | None = None

    def inputs(self) -> list[Input]:
        """Return the files with their formats. Raises `UsageError` for one that cannot be loaded."""
        inputs = [Input(path, format_of(path, self.format), self.rejects_dir) for path in self.files]
        if self.rejects_dir is not None and not self.rejects_dir.is_dir():
            raise UsageError(f"there is no folder {self.rejects_dir}: make it, or give --rejects-dir another one")
        for given in inputs:
            if given.path != STDIN and not Path(given.path).is_file():
                raise UsageError(f"there is no file {given.path}")
        names = [given.name for given in inputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice and self.mapping.identifier is None:
            raise UsageError(
                f"more than one file is named {twice[0]}: rows without an _id would get the same ones. Give --id "
                "FIELD, or other names"
            )
        return inputs

    def identity(self) -> dict[str, Any]:
        """Return what has to stay the same for a load to go on: its target, and what documents are made from."""
        return {
            "endpoint": self.endpoint.host,
            "keyspace": self.endpoint.keyspace,
            "collection": self.collection,
            "vectorize": self.mapping.vectorize,
            "vector": self.mapping.vector,
            "id": self.mapping.identifier,
            "drop-field": self.mapping.drop_field,
            "strings": not self.style.infer,
            "json-cells": self.style.json_cells,
            "delimiter": self.style.delimiter,
        }


async def run_load(job: LoadJob) -> Totals:
    """Load the files. Raises `UsageError` before anything is sent, `TransferError` when it cannot be ended."""
    inputs = job.inputs()
    size = BatchSize(_REPLACE_DOCUMENTS if job.replace else job.batch, _BATCH_BYTES)
    async with DataApi(job.endpoint, timeout=job.timeout, patience=job.patience, connections=job.concurrency) as api:
        await _check_collection(api, job)
        delivery: Delivery = Replacing(api, job.collection) if job.replace else Inserting(api, job.collection, size)
        loading = Loading(api, job.collection, job.mapping, job.style, delivery, size)
        shared = Journal(job.state, job.identity(), restart=job.restart) if job.state else None
        try:
            with Meter(f"loading into {job.collection}", _units(inputs)) as meter:
                for given in inputs:
                    await _run_one(job, loading, given, shared, meter)
        finally:
            if shared is not None:
                shared.close()
    return loading.totals


async def _run_one(job: LoadJob, loading: Loading, given: Input, shared: Journal | None, meter: Meter) -> None:
    journal = shared
    # What came through a pipe cannot be read again: only ids keep it from being loaded twice.
    if given.path == STDIN:
        journal = None
    elif shared is None:
        path = journal_path(Path(given.path), job.endpoint.keyspace, job.collection)
        journal = Journal(path, job.identity(), restart=job.restart)
    try:
        await loading.run(given, journal, meter, concurrency=job.concurrency, retry_rejected=job.retry_rejected)
    finally:
        if journal is not None and journal is not shared:
            journal.close()


async def _check_collection(api: DataApi, job: LoadJob) -> None:
    """Refuse early what every row would be refused for."""
    options = await api.options_of(job.collection)
    if options is None:
        raise RefusedError(
            "UNKNOWN_COLLECTION_OR_TABLE",
            f"{job.endpoint.host} has no collection {job.collection!r} in the keyspace {job.endpoint.keyspace!r}: "
            "create it first, with the model that is to embed the texts",
        )
    vector = options.get("vector") or {}
    if job.mapping.vectorize is not None and "service" not in vector:
        raise UsageError(
            f"the collection {job.collection!r} has no embedding service, so --vectorize cannot be used: create it "
            "with vector.service, or give --vector FIELD"
        )
    if job.mapping.vector is not None and not vector:
        raise UsageError(f"the collection {job.collection!r} has no vectors, so --vector cannot be used")


def _units(inputs: Sequence[Input]) -> int | None:
    """Return the bytes to read, None where that is not known beforehand."""
    # Parquet counts rows, which do not add up with bytes.
    if any(given.path == STDIN or given.format == "parquet" for given in inputs):
        return None if len(inputs) > 1 or inputs[0].path == STDIN else _rows(inputs[0])
    return sum(Path(given.path).stat().st_size for given in inputs)


def _rows(given: Input) -> int | None:
    with open_source(given.path, given.format, CsvStyle()) as source:
        return source.size


async def forecast_load(job: LoadJob) -> Forecast:
    """Return what a load would be. Nothing is written, and nothing embedded; the collection is looked at."""
    inputs = job.inputs()
    options: dict[str, Any] | None = None
    notes: list[str] = []
    try:
        async with DataApi(job.endpoint, timeout=job.timeout, patience=0.0) as api:
            options = await api.options_of(job.collection)
            if options is None:
                notes.append(f"There is no collection {job.collection!r} at {job.endpoint.host} yet.")
    except TransferError as problem:
        notes.append(f"The endpoint could not be asked: {problem}.")
    catalogue = load_catalogue(_catalogue_settings(os.environ))
    forecaster = Forecaster(options, catalogue, load_settings(os.environ).limits, job.batch)
    for given in inputs:
        with open_source(given.path, given.format, job.style) as source:
            for row in source.rows:
                document = job.mapping.document(row, given.name, by_content=given.path == STDIN)
                if isinstance(document, Rejection):
                    forecaster.rejected(given.name, row.number, document)
                else:
                    forecaster.document(given.name, row.number, document)
    forecast = forecaster.finish()
    forecast.notes[:0] = notes
    return forecast


def _catalogue_settings(environment: "os._Environ[str]") -> CatalogueSettings:
    """Return the operator's additions, which price models that the catalogue itself does not have."""
    file = environment.get("ORRERY_PROVIDERS_FILE")
    allowed = tuple(filter(None, environment.get("ORRERY_ALLOW_PROVIDERS", "").split(",")))
    return CatalogueSettings(file=Path(file) if file else None, allowed=("deterministic", *allowed))
