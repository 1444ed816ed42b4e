"""What updates and replacements answer: counts, the id of a created document, and an image of the changed one."""

import msgspec
from orrery.store.v1 import store_pb2

from services.gateway.envelope import Encodable
from services.gateway.fields import Fields
from services.gateway.rendering import render_document

_IMAGES = {"before": store_pb2.RETURN_IMAGE_BEFORE, "after": store_pb2.RETURN_IMAGE_AFTER}

Changed = store_pb2.UpdateDocumentsResponse | store_pb2.ReplaceDocumentResponse


def read_image(options: Fields) -> store_pb2.ReturnImage.ValueType:
    """Return which image a command asks for: the one before, unless it says otherwise."""
    given = options.string("returnDocument")
    if given is None:
        return store_pb2.RETURN_IMAGE_BEFORE
    if given not in _IMAGES:
        options.refuse("returnDocument", given, "it must be 'before' or 'after'")
        return store_pb2.RETURN_IMAGE_BEFORE
    return _IMAGES[given]


def render_image(response: Changed) -> msgspec.Raw | None:
    """Return the document of an answer; None where there is none to show."""
    if not response.HasField("image"):
        return None
    return render_document(response.image, include_similarity=False)


def changed_status(response: Changed) -> dict[str, Encodable]:
    """Return the status of an answer: what matched, what changed, what was created."""
    status: dict[str, Encodable] = {
        "matchedCount": response.matched_count,
        "modifiedCount": response.modified_count,
    }
    if response.HasField("upserted_id"):
        status["upsertedId"] = msgspec.Raw(response.upserted_id)
    return status
