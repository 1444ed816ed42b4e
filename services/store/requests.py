"""Bounds on what one request may bring or ask for, so that no caller makes the store allocate without bound.

How many documents an insert has is counted in its bytes, before they become objects many times as large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from orrery.store.v1 import store_pb2 as pb

from services.runtime.errors import DataApiError
from services.runtime.interception import Interceptor, with_behaviour
from services.store.settings import RequestSettings

_INSERT = "/InsertDocuments"
_DOCUMENTS_FIELD = pb.InsertDocumentsRequest.DESCRIPTOR.fields_by_name["documents"].number
#: Fields of an insert besides its documents; more of them means nothing.
_OTHER_FIELDS = 64
_FIXED_BYTES = {1: 8, 5: 4}
_VARINT, _DELIMITED = 0, 2


class RequestLimits(Interceptor):
    """Refuses requests over the limits with `REQUEST_LIMIT_EXCEEDED`."""

    def __init__(self, settings: RequestSettings) -> None:
        self._settings = settings

    def around(self, method: str, handler: Any) -> Any:
        """Look at a request before its handler does, at an insert before it is parsed."""
        if handler.unary_unary is None:
            return handler
        parse = handler.request_deserializer
        if method.endswith(_INSERT):
            parse = self._counted(parse)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            if isinstance(request, DataApiError):
                raise request
            check(request, self._settings)
            return handler.unary_unary(request, context)

        return with_behaviour(handler, call, parse)

    def _counted(self, parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        most = self._settings.documents

        def counted(data: bytes) -> Any:
            count = count_field(data, _DOCUMENTS_FIELD, most)
            # An exception here would reach the caller without its code.
            return parse(data) if count <= most else _exceeded("documents", f"more than {most}", most)

        return counted


def check(request: Any, settings: RequestSettings) -> None:
    """Raise `REQUEST_LIMIT_EXCEEDED` for a request that brings, or asks for, more than the settings allow."""
    match request:
        case pb.InsertDocumentsRequest():
            _at_most("documents", len(request.documents), settings.documents)
            for document in request.documents:
                _check_document(document, settings)
        case pb.ReplaceDocumentRequest():
            _check_document(request.replacement, settings)
        case pb.UpdateDocumentsRequest():
            _at_most("operations", len(request.operations), settings.operations)
            _at_most("specials", len(request.specials), settings.operations)
            _at_most("limit", request.limit, settings.page_documents)
            _check_document(request.upsert, settings)
        case pb.DeleteDocumentsRequest():
            _at_most("limit", request.limit, settings.page_documents)
        case pb.FindDocumentsRequest():
            _at_most("limit", request.limit, settings.page_documents)
        case pb.FindDocumentsTogetherRequest():
            _at_most("finds", len(request.finds), settings.finds)
            for find in request.finds:
                _at_most("limit", find.limit, settings.page_documents)
        case pb.CreateCollectionRequest():
            _at_most("dimension", request.settings.vector.dimension, settings.vector_dimension)
        case _:
            pass


def count_field(data: bytes, number: int, most: int) -> int:
    """Return how often a field is at the top level of a message, counting no further than past `most`.

    Counting ends where the bytes are no message: whoever parses them says so. Any other field that comes too often
    counts as well.
    """
    place, found, others = 0, 0, 0
    while place < len(data) and found <= most:
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            _, place = _varint(data, place)
        elif kind == _DELIMITED:
            size, place = _varint(data, place)
            place += size
        elif kind in _FIXED_BYTES:
            place += _FIXED_BYTES[kind]
        else:
            return found
        others += tag >> 3 != number
        found += tag >> 3 == number or others > _OTHER_FIELDS
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, place


def _check_document(document: pb.Document, settings: RequestSettings) -> None:
    _at_most("bytes of a document", document.ByteSize(), settings.document_bytes)


def _at_most(what: str, count: int, most: int) -> None:
    if count > most:
        raise _exceeded(what, str(count), most)


def _exceeded(what: str, count: str, most: int) -> DataApiError:
    return DataApiError("REQUEST_LIMIT_EXCEEDED", what=what, count=count, most=most)
