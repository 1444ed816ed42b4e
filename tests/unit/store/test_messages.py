"""Messages: what the contract says becomes typed values, and what says nothing sensible is refused."""

from collections.abc import Callable

import pytest
from orrery.store.v1 import store_pb2 as pb

from services.documents.indexing import Indexing
from services.documents.rules import DocumentLimits
from services.documents.values import Timestamp
from services.runtime.errors import DataApiError
from services.store import messages
from services.store.catalog import CollectionEntry
from services.store.changes import Image, Special, VectorizeText
from services.store.filters import EVERYTHING, AllOf, AnyOf, Composite, ContainsAll, Exists, In, Not, Range, Size
from services.store.records import CollectionSettings, Found, Record, StoredVector, VectorSettings
from services.store.updates import Operation
from services.store.vectors.similarity import Metric

A = pb.Path(segments=["a"])


def condition(**test: object) -> pb.Filter:
    return pb.Filter(condition=pb.Condition(path=A, **test))  # type: ignore[arg-type]


def values(*items: pb.Value) -> pb.ValueList:
    return pb.ValueList(values=items)


ONE = pb.Value(number="1")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.Filter(), EVERYTHING),
        (condition(equals=ONE), In(("a",), (1,), null_in_arrays=False)),
        (condition(equals=pb.Value(null=True)), In(("a",), (None,), null_in_arrays=False)),
        (condition(equals=pb.Value(boolean=False)), In(("a",), (False,), null_in_arrays=False)),
        (condition(equals=pb.Value(timestamp_millis=-5)), In(("a",), (Timestamp(-5),), null_in_arrays=False)),
        (condition(equals=pb.Value(composite=b"[1]")), In(("a",), (Composite([1]),), null_in_arrays=False)),
        (condition(**{"in": values(ONE, pb.Value(text="x"))}), In(("a",), (1, "x"))),
        (condition(range=pb.Range(greater_than=ONE)), Range(("a",), (1, False), None)),
        (condition(range=pb.Range(at_least=ONE, less_than=ONE)), Range(("a",), (1, True), (1, False))),
        (condition(range=pb.Range(at_most=ONE)), Range(("a",), None, (1, True))),
        (condition(exists=True), Exists(("a",))),
        (condition(exists=False), Not(Exists(("a",)))),
        (condition(contains_all=values(ONE)), ContainsAll(("a",), (1,))),
        (condition(size=0), Size(("a",), 0)),
        (pb.Filter(negated=condition(size=1)), Not(Size(("a",), 1))),
        (pb.Filter(all_of=pb.FilterList(filters=[condition(size=1)])), AllOf((Size(("a",), 1),))),
        (pb.Filter(any_of=pb.FilterList()), AnyOf()),
    ],
    ids=str,
)
def test_filters(message: pb.Filter, expected: object) -> None:
    assert messages.read_filter(message) == expected


def test_the_same_message_is_the_same_filter_and_one_of_other_types_is_another() -> None:
    one, true = condition(equals=pb.Value(number="1")), condition(equals=pb.Value(boolean=True))

    assert messages.read_filter(one) is messages.read_filter(pb.Filter.FromString(one.SerializeToString()))
    assert messages.read_filter(one) is not messages.read_filter(true)
    assert isinstance(messages.read_filter(true).values[0], bool)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "message",
    [
        pb.Filter(condition=pb.Condition(path=A)),
        pb.Filter(condition=pb.Condition(exists=True)),
        condition(equals=pb.Value()),
        condition(equals=pb.Value(number="abc")),
        condition(equals=pb.Value(number="true")),
        condition(equals=pb.Value(number="NaN")),
        condition(equals=pb.Value(composite=b"{")),
        condition(range=pb.Range()),
        condition(range=pb.Range(at_least=pb.Value(composite=b"[]"))),
        condition(contains_all=pb.ValueList()),
    ],
    ids=str,
)
def test_filters_that_say_nothing_sensible_are_refused(message: pb.Filter) -> None:
    with pytest.raises(DataApiError) as refused:
        messages.read_filter(message)
    assert refused.value.code == "REQUEST_STRUCTURE_MISMATCH"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (pb.UpdateOperation(path=A, set=b"[1]"), Operation("$set", ("a",), [1])),
        (pb.UpdateOperation(path=A, set_on_insert=b"1"), Operation("$setOnInsert", ("a",), 1)),
        (pb.UpdateOperation(path=A, unset=True), Operation("$unset", ("a",))),
        (pb.UpdateOperation(path=A, increment="2"), Operation("$inc", ("a",), 2)),
        (pb.UpdateOperation(path=A, multiply="-2"), Operation("$mul", ("a",), -2)),
        (pb.UpdateOperation(path=A, minimum=b"null"), Operation("$min", ("a",), None)),
        (pb.UpdateOperation(path=A, maximum=b'"x"'), Operation("$max", ("a",), "x")),
        (pb.UpdateOperation(path=A, rename_to=pb.Path(segments=["b"])), Operation("$rename", ("a",), target=("b",))),
        (pb.UpdateOperation(path=A, current_date=True), Operation("$currentDate", ("a",))),
        (pb.UpdateOperation(path=A, push=pb.Push(values=[b"1"])), Operation("$push", ("a",), [1])),
        (pb.UpdateOperation(path=A, push=pb.Push(values=[], position=0)), Operation("$push", ("a",), [], 0)),
        (pb.UpdateOperation(path=A, pop=-1), Operation("$pop", ("a",), -1)),
        (pb.UpdateOperation(path=A, add_to_set=pb.AddToSet(values=[b"1"])), Operation("$addToSet", ("a",), [1])),
    ],
    ids=str,
)
def test_update_operations(message: pb.UpdateOperation, expected: Operation) -> None:
    assert messages.read_update(pb.UpdateDocumentsRequest(operations=[message])).operations == (expected,)


@pytest.mark.parametrize(
    "message",
    [
        pb.UpdateOperation(path=A),
        pb.UpdateOperation(set=b"1"),
        pb.UpdateOperation(path=A, set=b"{"),
        pb.UpdateOperation(path=A, increment="one"),
        pb.UpdateOperation(path=A, rename_to=pb.Path()),
    ],
    ids=str,
)
def test_update_operations_that_say_nothing_sensible_are_refused(message: pb.UpdateOperation) -> None:
    with pytest.raises(DataApiError) as refused:
        messages.read_update(pb.UpdateDocumentsRequest(operations=[message]))
    assert refused.value.code == "REQUEST_STRUCTURE_MISMATCH"


def test_special_assignments() -> None:
    given = [
        pb.SpecialAssignments(vector=pb.Vector(values=b"1234", literal=b"[1]"), lexical=b"null"),
        pb.SpecialAssignments(vectorize=pb.Vectorize(text=b'"t"'), on_insert_only=True),
        pb.SpecialAssignments(vectorize=pb.Vectorize(text=b'"t"', values=b"1234"), unset_lexical=True),
        pb.SpecialAssignments(blank_vectorize=b"null"),
        pb.SpecialAssignments(unset=True),
    ]

    assert messages.read_update(pb.UpdateDocumentsRequest(specials=given)).specials == (
        Special(vector=StoredVector(b"1234", b"[1]"), lexical=b"null"),
        Special(vectorize=VectorizeText(b'"t"'), on_insert_only=True),
        Special(vectorize=VectorizeText(b'"t"', b"1234"), unset_lexical=True),
        Special(blank_vectorize=b"null"),
        Special(unset=True),
    )


def test_images_and_upserts() -> None:
    update = messages.read_update(
        pb.UpdateDocumentsRequest(
            return_image=pb.RETURN_IMAGE_AFTER, upsert=pb.Document(json=b"{}"), new_id=b"5", limit=3
        )
    )
    replacement = messages.read_replacement(pb.ReplaceDocumentRequest(replacement=pb.Document(json=b"{}"), upsert=True))

    assert (update.image, update.upsert, update.new_id, update.limit) == (Image.AFTER, Record(b"{}"), b"5", 3)
    assert (replacement.image, replacement.record, replacement.upsert) == (Image.NONE, Record(b"{}"), True)


@pytest.mark.parametrize(
    "read",
    [
        lambda: messages.read_replacement(pb.ReplaceDocumentRequest(replacement=pb.Document(json=b"[]"))),
        lambda: messages.read_update(pb.UpdateDocumentsRequest(upsert=pb.Document(json=b"nonsense"))),
        lambda: messages.read_settings(pb.CollectionSettings(vector=pb.VectorSettings(dimension=3))),
        lambda: messages.read_settings(pb.CollectionSettings(vector=pb.VectorSettings(metric=pb.METRIC_COSINE))),
    ],
)
def test_what_cannot_be_stored_is_refused(read: Callable[[], object]) -> None:
    with pytest.raises(DataApiError) as refused:
        read()
    assert refused.value.code == "REQUEST_STRUCTURE_MISMATCH"


@pytest.mark.parametrize(
    "settings",
    [
        CollectionSettings(limits=DocumentLimits(None, None, None, None, None, None, None)),
        CollectionSettings(VectorSettings(3, Metric.EUCLIDEAN), Indexing(allow=frozenset({("a", "b.c")}))),
        CollectionSettings(VectorSettings(3, Metric.DOT_PRODUCT), Indexing(deny=frozenset({("a",), ("b",)}))),
        CollectionSettings(VectorSettings(3, Metric.COSINE), Indexing(deny_all=True), DocumentLimits(max_depth=2)),
    ],
)
def test_settings_come_back(settings: CollectionSettings) -> None:
    message = messages.collection_message(CollectionEntry("c", "uid", settings, b"attributes"))

    assert messages.read_settings(message.settings) == settings
    assert (message.name, message.uid, message.attributes) == ("c", "uid", b"attributes")


@pytest.mark.parametrize(
    "record",
    [
        Record(b'{"_id":1}'),
        Record(b'{"_id":1}', StoredVector(b"")),
        Record(b'{"_id":1}', StoredVector(b"1234", b"[1]"), b'"text"', b"null"),
    ],
)
def test_documents_come_back(record: Record) -> None:
    message = messages.found_message(Found(record, 0.5))

    assert messages.read_record(message.document) == record
    assert message.similarity == 0.5
    assert not messages.found_message(Found(record)).HasField("similarity")
