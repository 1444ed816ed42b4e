"""Vectors in JSON: arrays of numbers, or `{"$binary": ...}` with the Base64 of big-endian float32."""

import binascii
import struct
from decimal import Decimal

import msgspec
import numpy as np
import numpy.typing as npt
from orrery.store.v1 import store_pb2

from services.documents.codec import JsonObject, JsonValue, encode, json_type
from services.documents.vectors import BINARY_FORM
from services.gateway.collection import Collection
from services.gateway.limits import Limits
from services.gateway.number_arrays import NumberArray
from services.runtime.errors import DataApiError

BINARY = "$binary"

Float32 = npt.NDArray[np.float32]


class BinaryVectorError(ValueError):
    """A `$binary` that is no vector; the message says why."""


def read_array(values: list[JsonValue]) -> Float32:
    """Return float32[n] of an array of numbers.

    Raises `SHRED_BAD_VECTOR_SIZE` for an empty one, `SHRED_BAD_VECTOR_VALUE` for an element that is no number, or
    none that a finite float32 can hold.
    """
    if isinstance(values, NumberArray):
        packed = _packed(values)
        if packed is not None:
            return packed
        values = values.exact()
    if not values:
        raise DataApiError("SHRED_BAD_VECTOR_SIZE")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise DataApiError("SHRED_BAD_VECTOR_VALUE", value=encode(value).decode()[:100])
    with np.errstate(over="ignore"):
        vector = np.array([_double(value) for value in values], np.float64).astype(np.float32)
    if not np.isfinite(vector).all():
        at = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise DataApiError("SHRED_BAD_VECTOR_VALUE", value=encode(values[at]).decode()[:100])
    return vector


def _packed(values: list[float]) -> Float32 | None:
    """Return float32[n]; None for none, and where one is too large for a float32."""
    if not values:
        return None
    try:
        return np.frombuffer(struct.pack(f"<{len(values)}f", *values), "<f4")
    except OverflowError:
        return None


def _double(value: JsonValue) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")


def read_binary(value: JsonValue) -> Float32:
    """Return float32[n] of the content of `$binary`.

    Raises `BinaryVectorError` for what is no Base64 text of finite big-endian float32.
    """
    if not isinstance(value, str):
        raise BinaryVectorError(f"it is of JSON type {json_type(value)}")
    content = _from_base64(value)
    if not content:
        raise BinaryVectorError("it is empty")
    if len(content) % 4:
        raise BinaryVectorError(f"its {len(content)} bytes are no multiple of 4")
    vector = np.frombuffer(content, ">f4").astype(np.float32)
    # Counting takes half as long as `all`.
    if np.count_nonzero(np.isfinite(vector)) < len(vector):
        raise BinaryVectorError("it holds a number that is not finite")
    return vector


def _from_base64(text: str) -> bytes:
    try:
        # Several times as fast, and stricter in what may follow the padding.
        return msgspec.convert(text, bytes)
    except msgspec.ValidationError:
        pass
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise BinaryVectorError(f"it is not Base64 ({error})") from None


def check_vector(vector: Float32, collection: Collection) -> bytes:
    """Return the little-endian bytes of a vector that fits a collection with vectors.

    Raises `INVALID_VECTOR_LENGTH`, or `INVALID_DATABASE_QUERY` for a zero vector with the cosine metric.
    """
    options = collection.options.vector
    if options and len(vector) != options.dimension:
        raise DataApiError(
            "INVALID_VECTOR_LENGTH",
            length=len(vector),
            dimension=options.dimension,
            keyspace=collection.keyspace,
            collection=collection.name,
        )
    if options and options.metric == "cosine" and not np.count_nonzero(vector):
        raise DataApiError("INVALID_DATABASE_QUERY", problem="a zero vector has no direction to compare by cosine")
    return vector.astype("<f4", copy=False).tobytes()


def parse_document_vector(value: JsonValue, collection: Collection, limits: Limits) -> store_pb2.Vector:
    """Return a document's `$vector`, with what is needed to show it as it was sent. null has no values.

    Raises the `SHRED_*` codes of vectors, and what `check_vector` raises.
    """
    if value is None:
        return store_pb2.Vector()
    if isinstance(value, dict) and list(value) == [BINARY]:
        try:
            vector = read_binary(value[BINARY])
        except BinaryVectorError as problem:
            raise DataApiError("SHRED_BAD_BINARY_VECTOR_VALUE", problem=problem) from None
        _check_count(len(vector), limits)
        values = check_vector(vector, collection)
        return store_pb2.Vector(values=values, literal=_binary_literal(value, values))
    if not isinstance(value, list):
        raise DataApiError("SHRED_BAD_DOCUMENT_VECTOR_TYPE", type=json_type(value))
    _check_count(len(value), limits)
    values = check_vector(read_array(value), collection)
    literal = value.text() if isinstance(value, NumberArray) else encode(value)
    return store_pb2.Vector(values=values, literal=b"" if _is_shortest(literal, values) else literal)


def _binary_literal(value: JsonObject, values: bytes) -> bytes:
    """Return what says that a vector is shown as its `$binary` was sent."""
    text = str(value[BINARY])
    # Without padding there is one text for the values; with it, some decoders take several.
    return BINARY_FORM if not text.endswith("=") or text == _to_base64(values) else encode(value)


def binary_to_json(values: bytes) -> bytes:
    """Return the JSON object that shows little-endian float32 as `$binary`."""
    return b'{"$binary":"%b"}' % _to_base64(values).encode()


def _to_base64(values: bytes) -> str:
    return binascii.b2a_base64(np.frombuffer(values, "<f4").astype(">f4").tobytes(), newline=False).decode()


def _is_shortest(literal: bytes, values: bytes) -> bool:
    """Tell whether an array is what `vector_to_json` makes of its values."""
    first = literal[1:-1].partition(b",")[0]
    # No float32 needs ten digits: most arrays that were computed as float64 are told by their first number. Decimals
    # have a capital E, floats a small one.
    if len(first.replace(b".", b"").strip(b"-0")) > 10 or b"E" in literal:
        return False
    return literal == vector_to_json(values)


def _check_count(count: int, limits: Limits) -> None:
    if count > limits.vector_dimension:
        raise DataApiError(
            "SHRED_DOC_LIMIT_VIOLATION",
            problem=f"`$vector` has {count} elements, over the maximum of {limits.vector_dimension}",
        )


def vector_to_json(values: bytes) -> bytes:
    """Return the JSON array of little-endian float32: for each the shortest decimal that reads back as it."""
    return msgspec.json.encode(_short_decimals(np.frombuffer(values, "<f4")).tolist())


#: Powers of ten that float64 holds exactly.
_POWERS = np.array([float(10**exponent) for exponent in range(23)])


def _short_decimals(vector: Float32) -> npt.NDArray[np.float64]:
    """Return float64[n] whose own shortest decimals are those of float32[n].

    The decimal of d digits that is nearest to a float32 is an integer over a power of ten; where both are exact in
    float64, their quotient is the float64 that reads as that decimal. Six digits always survive a float32 and ten
    always suffice, so the first of these that reads back as the float32 is its shortest.
    """
    exact = vector.astype(np.float64)
    magnitude = np.abs(exact)
    within = (magnitude >= 1e-12) & (magnitude < 1e5)
    scaled = np.where(within, exact, 1.0)
    exponents = np.floor(np.log10(np.abs(scaled))).astype(np.intp)
    result = exact.copy()
    # From the most digits to the fewest, so that the fewest have the last word.
    for digits in range(10, 5, -1):
        power = _POWERS[digits - 1 - exponents]
        rounded = np.rint(scaled * power) / power
        np.copyto(result, rounded, where=within & (rounded.astype(np.float32) == vector))
    # Beyond those magnitudes powers of ten are not exact; numpy's own text is slower, but knows.
    beyond = ~within & (magnitude > 0)
    if beyond.any():
        result[beyond] = vector[beyond].astype("U").astype(np.float64)
    return result
