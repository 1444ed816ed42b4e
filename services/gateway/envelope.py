"""The envelope of every answer: `data`, `status` and `errors`, each absent when it has nothing."""

import uuid
from dataclasses import dataclass, field

import msgspec

from services.runtime.errors import DataApiError

#: A value that `msgspec` encodes; documents are `msgspec.Raw`, already JSON.
Encodable = object

_TOO_MANY_REQUESTS = 429

_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(slots=True)
class Answer:
    """What a command answers.

    `data` and `errors` never go out together: `data` is dropped when there are errors. `http_status` is that of
    the first error whose status is not 200.
    """

    data: dict[str, Encodable] | None = None
    status: dict[str, Encodable] = field(default_factory=dict)
    errors: list[DataApiError] = field(default_factory=list)
    warnings: list[DataApiError] = field(default_factory=list)
    _error_objects: list[dict[str, Encodable]] | None = field(default=None, repr=False)

    @property
    def http_status(self) -> int:
        """The HTTP status of the answer."""
        return next((error.definition.http for error in self.errors if error.definition.http != 200), 200)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The HTTP headers of the answer besides those of every answer: when to come again, where that is told."""
        waits = [error.details["seconds"] for error in self.errors if error.definition.http == _TOO_MANY_REQUESTS]
        return [(b"retry-after", wait.encode()) for wait in waits[:1]]

    @property
    def codes(self) -> list[str]:
        """The codes of the errors."""
        return [error.code for error in self.errors]

    def error_objects(self) -> list[dict[str, Encodable]]:
        """Return the Data API's objects for the errors, always the same: the log has the ids that callers see."""
        if self._error_objects is None:
            self._error_objects = [error_object(error) for error in self.errors]
        return self._error_objects

    def documents(self) -> tuple[int | None, int]:
        """Return how many documents it returns, None where it returns none by its kind, and the bytes of their JSON."""
        data = self.data
        if data is None or self.errors:
            return None, 0
        listed = data.get("documents")
        found = listed if isinstance(listed, list) else [data.get("document")]
        sizes = [len(one) for one in found if isinstance(one, msgspec.Raw)]
        return len(sizes), sum(sizes)

    def written(self) -> int | None:
        """Return how many documents were inserted or changed, None where none can be."""
        status = self.status
        responses = status.get("documentResponses")
        if isinstance(responses, list):
            return len([response for response in responses if response["status"] == "OK"])
        inserted, modified = status.get("insertedIds"), status.get("modifiedCount")
        if isinstance(inserted, list):
            return len(inserted)
        return int(modified) + int("upsertedId" in status) if isinstance(modified, int) else None

    def encode(self) -> bytes:
        """Return the JSON of the envelope."""
        body: dict[str, Encodable] = {}
        status = self.status
        if self.warnings:
            status = {**status, "warnings": [error_object(warning) for warning in self.warnings]}
        if self.data is not None and not self.errors:
            body["data"] = self.data
        if status:
            body["status"] = status
        if self.errors:
            body["errors"] = self.error_objects()
        return _encoder.encode(body)


def error_object(error: DataApiError) -> dict[str, Encodable]:
    """Return the Data API's object for an error or warning, with an id of its own."""
    definition = error.definition
    shown: dict[str, Encodable] = {
        "id": str(uuid.uuid4()),
        "family": definition.family,
        "scope": definition.scope,
        "errorCode": definition.code,
        "title": definition.title,
        "message": error.message,
    }
    if error.document_ids:
        shown["documentIds"] = [msgspec.Raw(identifier) for identifier in error.document_ids]
    return shown
