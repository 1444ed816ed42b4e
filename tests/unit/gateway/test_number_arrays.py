"""Vectors read apart from a body: nothing that is answered may tell that they were."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.documents.codec import JsonValue
from services.gateway import command
from services.gateway.collection import Collection, CollectionOptions, VectorOptions
from services.gateway.command import Level, parse_body
from services.gateway.commands import COMMANDS
from services.gateway.documents import prepare_document
from services.gateway.fields import Fields
from services.gateway.grammar.sort import VectorSort, parse_sort
from services.gateway.limits import Limits
from services.gateway.number_arrays import NumberArray, put_back, take_out
from services.runtime.errors import DataApiError

LIMITS = Limits(insert_many_documents=3, nesting_depth=12)
COLLECTION = Collection("d", "k", "c", "u", CollectionOptions(vector=VectorOptions(2, "euclidean", "other")))

PLAIN = [
    "0",
    "-0",
    "-0.0",
    "1",
    "0.5",
    "0.10",
    "0.000001",
    "0.0000001",
    "10.0000001",
    "0.1234567",
    "16777217",
    "9" * 30,
]
WITH_EXPONENT = ["1e5", "1E-7", "1e-05", "5.877471754111438e-39", "3.4028235e38", "3.5e38", "1e400", "1e-400"]
IMPOSSIBLE = ["1e99999999999999999999", "01", "1.", ".5", "+1", "NaN"]
NUMBERS = st.sampled_from([*PLAIN, *WITH_EXPONENT, *IMPOSSIBLE]) | st.floats(allow_nan=False, allow_infinity=False).map(
    repr
)
SPACES = st.sampled_from(["", "", " ", "\n\t"])
#: What stands under `$vector`, mostly two numbers, in every spelling.
ARRAYS = st.builds(
    lambda items, space: f"{space}[{space}" + f"{space},{space}".join(items) + f"{space}]",
    st.lists(NUMBERS, min_size=2, max_size=2) | st.lists(NUMBERS | st.sampled_from(["null", "true", '"]"', "[1]"])),
    SPACES,
)
NAMES = st.sampled_from(
    ['"$vector"', '"$vector"', '"$vector"', '"\\u0024vector"', '"a,\\"$vector"', '"a"', '"_id"', '"é"']
)
VALUES = st.recursive(
    ARRAYS | st.sampled_from(["1", "null", '"x"', '"\\"$vector\\":[1.50]"', '{"$binary":"PwAAAD8AAAA="}', '"\\ud800"']),
    lambda inner: st.lists(st.tuples(NAMES, SPACES, inner), max_size=3).map(
        lambda members: "{" + ",".join(f"{space}{name}{space}:{item}" for name, space, item in members) + "}"
    ),
    max_leaves=6,
)
BODIES = (
    st.lists(VALUES, max_size=4).map(lambda items: '{"insertMany":{"documents":[' + ",".join(items) + "]}}")
    | VALUES.map('{{"insertOne":{{"document":{}}}}}'.format)
    | VALUES.map('{{"find":{{"sort":{}}}}}'.format)
    | VALUES.map('{{"findOneAndReplace":{{"replacement":{}}}}}'.format)
    | VALUES
)


def answered(body: bytes) -> Any:
    """Return what the gateway makes of a body, or the error it answers."""
    try:
        found, fields = parse_body(body, Level.COLLECTION, COMMANDS, LIMITS)
        return found.name, [outcome(value) for value in places(fields)], sorted_by(fields)
    except DataApiError as error:
        return error.code, error.message


def places(fields: Fields) -> list[JsonValue]:
    documents = fields.get("documents")
    listed = documents if isinstance(documents, list) else []
    return [*listed, fields.get("document"), fields.get("replacement")]


def outcome(document: JsonValue) -> Any:
    try:
        prepared = prepare_document(document, COLLECTION, LIMITS, give_id=False)
    except DataApiError as error:
        return error.code, error.message
    return prepared.message, prepared.id_json


def sorted_by(fields: Fields) -> Any:
    try:
        clause = parse_sort(fields.get("sort"), COLLECTION, LIMITS)
    except DataApiError as error:
        return error.code, error.message
    return clause.values if isinstance(clause, VectorSort) else type(clause)


@settings(max_examples=400)
@given(BODIES)
@example('{"insertMany":{"documents":[{"a":{"$vector":[1.5,2]}},{"$vector":[2.5,3]}]}}')
@example('{"insertMany":{"documents":[{"$vector":[1.5,2],"$vector":[2.5,3]}]}}')
@example('{"insertMany":{"documents":[{"$vector":[1.5,2]},{},{},{}]}}')
def test_reading_apart_changes_no_answer(text: str) -> None:
    body = text.encode()
    apart = answered(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "take_out", lambda body, most: (body, []))
        together = answered(body)

    assert apart == together


def test_bytes_that_are_no_utf8_are_refused_as_ever() -> None:
    body = b'{"insertOne":{"document":{"$vector":[1.5,2],"a":"\xff"}}}'

    assert answered(body)[0] == "REQUEST_NOT_JSON"


@pytest.mark.parametrize("separator", [", ", ","])
def test_common_bodies_are_read_apart(separator: str) -> None:
    documents = [{"_id": at, "$vector": [0.1, 1e-05, at]} for at in range(3)]
    body = json.dumps({"insertMany": {"documents": documents}}, separators=(separator, ":")).encode()
    _, fields = parse_body(body, Level.COLLECTION, COMMANDS, LIMITS)

    given: Any = fields.get("documents")
    vectors = [document["$vector"] for document in given]
    assert all(isinstance(vector, NumberArray) for vector in vectors)
    assert [vector.text() for vector in vectors] == [b"[0.1,0.00001,%d]" % at for at in range(3)]


def test_what_is_elsewhere_is_not_put_back() -> None:
    rest, arrays = take_out(b'{"insertOne":{"document":{"a":{"$vector":[1]}}}}', 3)

    assert arrays == [[1.0]]
    assert not put_back(json.loads(rest), arrays, 3)
