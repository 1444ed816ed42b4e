"""A row as a document of the Data API: its `_id`, its text to vectorize, its vector."""

import uuid
from dataclasses import dataclass

from services.documents.codec import JsonObject, JsonValue, encode, json_type
from services.transfer.sources.row import Rejection, Row

_NAMESPACE = uuid.UUID("6f1a0f5e-5d0c-5b7a-9a3c-0c1d3a6f2b11")


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which fields of a row have a meaning. The field of the text is kept unless `drop_field` says otherwise."""

    vectorize: str | None = None
    vector: str | None = None
    identifier: str | None = None
    drop_field: bool = False

    def document(self, row: Row, origin: str, *, by_content: bool = False) -> JsonObject | Rejection:
        """Return the document of a row, or why there is none.

        A row without an `_id` gets one made from `origin`, the name of its file, and its number, so that the same
        file loaded again gives the same ids. With `by_content` the row's content counts instead of a file's name,
        for input that has none.
        """
        if row.problem is not None:
            return row.problem
        fields = dict(row.fields)
        special: JsonObject = {}
        if self.vectorize is not None and self.vectorize in fields:
            text = fields[self.vectorize]
            if text is not None and not isinstance(text, str):
                return Rejection(
                    "INVALID_VECTORIZE_VALUE_TYPE",
                    f"the field {self.vectorize!r} must be text to be vectorized, this is: {json_type(text)}",
                )
            special["$vectorize"] = text
            if self.drop_field:
                del fields[self.vectorize]
        if self.vector is not None and self.vector in fields:
            special["$vector"] = fields.pop(self.vector)
        if self.identifier is not None and self.identifier not in fields:
            return Rejection("ROW_WITHOUT_ID", f"the row has no field {self.identifier!r}, which is to be its _id")
        return {"_id": self._identifier(row, fields, origin, by_content), **fields, **special}

    def _identifier(self, row: Row, fields: JsonObject, origin: str, by_content: bool) -> JsonValue:
        if self.identifier is not None:
            identifier = fields.pop(self.identifier)
            fields.pop("_id", None)
            return identifier
        if "_id" in fields:
            return fields.pop("_id")
        source = encode(fields).decode("utf-8", "replace") if by_content else origin
        return str(uuid.uuid5(_NAMESPACE, f"{source}\0{row.number}"))
