"""Importing: an export back into a collection, in its order, as it was."""

import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from services.documents.codec import JsonError, JsonValue, decode
from services.transfer.data_api import DataApi
from services.transfer.delivery import Stored
from services.transfer.destinations import Destination, Imported
from services.transfer.errors import RefusedError, UsageError
from services.transfer.manifest import Manifest
from services.transfer.progress import Meter
from services.transfer.rejects import Rejects
from services.transfer.row_set import RowSet
from services.transfer.sources.row import Rejection, Row

_BATCH_DOCUMENTS = 100
_BATCH_BYTES = 8 * 1024 * 1024
#: Options that an endpoint may have switched off altogether, by the code with which it refuses them.
_OPTIONAL = {"LEXICAL_FEATURE_NOT_ENABLED": "lexical", "RERANKING_FEATURE_NOT_ENABLED": "rerank"}
_KEYS_HINT = " Store the key under that name first: `orrery keys add PROVIDER NAME --database DATABASE`."


@dataclass(slots=True)
class ImportTotals:
    """What came of an import."""

    loaded: int = 0
    there: int = 0
    rejected: int = 0


async def prepare_collection(api: DataApi, manifest: Manifest, name: str, *, force: bool) -> list[str]:
    """Create the collection as the manifest defines it, or compare the one that is there.

    Returns what was done otherwise than the manifest says, which only `force` allows.

    Raises `UsageError`, naming the differences, for a collection whose vectors would not go with those of the export;
    `RefusedError` for a definition that the endpoint does not take.
    """
    wanted: dict[str, Any] = dict(manifest.definition.get("options", {}))
    existing = await api.options_of(name)
    if existing is not None:
        found = differences(wanted, existing)
        if found and not force:
            raise UsageError(
                f"the collection {name!r} is there with other settings than the export: {'; '.join(found)}. Vectors of "
                "different models cannot be searched together. Give --collection another name, or --force"
            )
        return found
    notes: list[str] = []
    while True:
        try:
            await api.run("createCollection", {"name": name, "options": wanted})
        except RefusedError as problem:
            option = _OPTIONAL.get(problem.code)
            if option not in wanted:
                hint = _KEYS_HINT if problem.code == "VECTORIZE_CREDENTIAL_INVALID" else ""
                raise RefusedError(problem.code, f"cannot create the collection {name!r}: {problem}{hint}") from None
            if not force:
                raise RefusedError(
                    problem.code, f"{api.endpoint.host} does not offer {option!r}: --force creates without it."
                ) from None
            del wanted[option]
            notes.append(f"created without {option}, which {api.endpoint.host} does not offer")
        else:
            return notes


def differences(exported: Mapping[str, Any], existing: Mapping[str, Any]) -> list[str]:
    """Return how two collections' vectors differ: dimension, metric, and the model that makes them."""
    found = []
    for what, read in _COMPARED.items():
        ours, theirs = read(exported), read(existing)
        if ours != theirs:
            found.append(f"{what} is {_shown(theirs)} there and {_shown(ours)} in the export")
    return found


def _vector(options: Mapping[str, Any], name: str) -> Any:
    return (options.get("vector") or {}).get(name)


def _service(options: Mapping[str, Any], name: str) -> Any:
    return (_vector(options, "service") or {}).get(name) or None


_COMPARED: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "the dimension": lambda options: _vector(options, "dimension"),
    "the metric": lambda options: _vector(options, "metric"),
    "the provider": lambda options: _service(options, "provider"),
    "the model": lambda options: _service(options, "modelName"),
    "the list of parameters": lambda options: _service(options, "parameters"),
}


def _shown(value: Any) -> str:
    return "none" if value is None else repr(value)


async def import_documents(
    manifest: Manifest, folder: Path, destination: Destination, rejects: Rejects, meter: Meter
) -> ImportTotals:
    """Put every document of an export into a collection, in the order of the export.

    Raises `TransferError` when the destination takes no more.
    """
    totals = ImportTotals()
    number = 0
    for part in manifest.parts:
        shown_as_binary = RowSet()
        for first, last in part.shown_as_binary:
            shown_as_binary.add(first, last)
        for lines in _batches(folder / part.file):
            rows: list[tuple[int, Imported]] = []
            rejected: list[tuple[int, JsonValue, Rejection]] = []
            for line, text in lines:
                row = _read(line, text, shown_as_binary)
                if isinstance(row, Row):
                    rejected.append((number + line, row.content, row.problem or Rejection("", "")))
                else:
                    rows.append((number + line, row))
            results = await destination.write([imported for _, imported in rows])
            for (at, imported), result in zip(rows, results, strict=True):
                if isinstance(result, Rejection):
                    rejected.append((at, imported.document, result))
            rejects.write(sorted(rejected, key=lambda item: item[0]))
            loaded, there = results.count(Stored.LOADED), results.count(Stored.THERE)
            totals.loaded += loaded
            totals.there += there
            totals.rejected += len(rejected)
            meter.advance(len(lines), loaded + there, len(rejected))
        number += part.documents
    return totals


def _batches(path: Path) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines of a part, numbered from 1, some at a time."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    with path.open("rb") as file:
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if path.name.endswith(".gz") else file
        for number, line in enumerate(stream, 1):
            if batch and (len(batch) >= _BATCH_DOCUMENTS or size + len(line) > _BATCH_BYTES):
                yield batch
                batch, size = [], 0
            batch.append((number, line))
            size += len(line)
    if batch:
        yield batch


def _read(number: int, text: bytes, shown_as_binary: RowSet) -> Imported | Row:
    """Return the document of a line, or the row of one that is none."""
    try:
        value = decode(text)
    except JsonError as problem:
        shown = text.decode("utf-8", "replace")
        return Row.bad(number, shown, "ROW_NOT_JSON", f"the line is not valid JSON: {problem}")
    if not isinstance(value, dict):
        return Row.bad(number, value, "ROW_NOT_AN_OBJECT", "the line is no JSON object")
    return Imported(value, number in shown_as_binary)
