"""Rows of JSON: one object a line, or one array of objects, read element by element."""

import re
from collections.abc import Iterator
from typing import BinaryIO

from services.documents.codec import JsonError, decode, json_type
from services.transfer.errors import TransferError
from services.transfer.sources.row import Row

_CHUNK_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
#: What decides where an element of an array ends. Strings are passed over whole, where they end in the chunk.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},]', re.DOTALL)


def read_lines(stream: BinaryIO) -> Iterator[Row]:
    """Yield the object of each line; lines of white space are no rows."""
    number = 0
    for line in stream:
        text = line.removeprefix(_BOM).strip() if not number else line.strip()
        if text:
            number += 1
            yield row_of(number, text)


def read_array(stream: BinaryIO, name: str) -> Iterator[Row]:
    """Yield the objects of an array; bytes that are no JSON are a bad row, not the end.

    Raises `TransferError` when the file is no array, or ends before the array does.
    """
    for number, text in enumerate(_elements(stream, name), 1):
        yield row_of(number, text)


def row_of(number: int, text: bytes) -> Row:
    """Return the row of a JSON text."""
    try:
        value = decode(text)
    except JsonError as problem:
        return Row.bad(number, text.decode("utf-8", "replace"), "ROW_NOT_JSON", f"the row is not valid JSON: {problem}")
    if not isinstance(value, dict):
        return Row.bad(number, value, "ROW_NOT_AN_OBJECT", f"a row must be a JSON object, this is: {json_type(value)}")
    return Row(number, value)


def _elements(stream: BinaryIO, name: str) -> Iterator[bytes]:
    buffer = stream.read(_CHUNK_BYTES).removeprefix(_BOM).lstrip()
    while not buffer and (more := stream.read(_CHUNK_BYTES)):
        buffer = more.lstrip()
    if not buffer.startswith(b"["):
        raise TransferError(
            f"{name} does not begin with '[': a JSON file must hold one array of objects. If it has one object a line, "
            "give --format jsonl"
        )
    start = at = 1
    depth = 0
    while True:
        token = _TOKEN.search(buffer, at)
        # A lone quotation mark is a string that goes on behind the chunk.
        if token is None or token[0] == b'"':
            at = len(buffer) if token is None else token.start()
            more = stream.read(max(_CHUNK_BYTES, len(buffer) - start))
            if not more:
                raise TransferError(f"{name} ends before its array does: the file is not whole")
            # An unfinished escape must not be split from its character, so the tail is looked at again as one.
            buffer, start, at = buffer[start:] + more, 0, at - start
            continue
        mark, at = token[0], token.end()
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}") and depth:
            depth -= 1
        elif mark == b"]" or (mark == b"," and not depth):
            text = buffer[start : token.start()].strip()
            if text or mark == b",":
                yield text
            if mark == b"]":
                _check_end(buffer[at:] + stream.read(_CHUNK_BYTES), name)
                return
            start = at


def _check_end(rest: bytes, name: str) -> None:
    if rest.strip():
        raise TransferError(f"{name} goes on after the end of its array: only one array a file can be read")
