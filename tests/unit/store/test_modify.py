"""Updates and replacements as whole writes: counts, images, upserts, vectors and their texts, limits."""

import json
from typing import Any

import numpy as np
import pytest

from services.documents.codec import encode
from services.documents.rules import DocumentLimits
from services.runtime.errors import DataApiError
from services.store.changes import Changed, Image, Replacement, Selection, Special, Update, VectorizeText, VectorOrder
from services.store.collection import Collection
from services.store.filters import EVERYTHING, Exists, In
from services.store.ordering import FieldOrder, SortField
from services.store.projection import WHOLE, Projection
from services.store.records import CollectionSettings, Record, StoredVector, VectorSettings
from services.store.updates import Operation
from services.store.vectors.similarity import Metric
from tests.unit.store.conftest import Make

VECTORS = CollectionSettings(VectorSettings(2, Metric.DOT_PRODUCT))
EVERY_PART = Projection(include_vector=True, include_vectorize=True, include_lexical=True)


def values(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


def record(identifier: Any, **members: Any) -> Record:
    return Record(encode({"_id": identifier, **members}))


def content(collection: Collection, identifier: Any) -> Any:
    return json.loads(stored(collection, identifier).json)


def stored(collection: Collection, identifier: Any) -> Record:
    found, _ = collection.find(by_id(identifier), EVERY_PART, skip=0, limit=1, after=0)
    return found[0].record


def by_id(identifier: Any) -> Selection:
    return Selection(In(("_id",), (identifier,)))


def set_to(name: str, value: Any) -> Operation:
    return Operation("$set", (name,), value)


def image_of(changed: Changed) -> Any:
    assert changed.image is not None
    return json.loads(changed.image.record.json)


# --- updates ------------------------------------------------------------------------------------------------


def test_an_update_counts_matches_and_real_changes(make: Make) -> None:
    collection = make()
    collection.insert([record(1, a=1), record(2, a=2), record(3)], ordered=True)

    changed = collection.update(Update(Selection(Exists(("a",))), (set_to("a", 2),), limit=10))

    assert (changed.matched, changed.modified) == (2, 1)
    assert content(collection, 1) == {"_id": 1, "a": 2}


def test_an_update_goes_page_by_page_in_storage_order(make: Make) -> None:
    collection = make()
    collection.insert([record(n, todo=True) for n in range(5)], ordered=True)
    after: int | None = 0
    matched = []
    while after is not None:
        changed = collection.update(
            Update(Selection(In(("todo",), (True,))), (set_to("todo", False),), limit=2, after=after)
        )
        matched.append(changed.matched)
        after = changed.next_after

    assert matched == [2, 2, 1]
    assert collection.count(In(("todo",), (False,)), 0) == (5, False)


def test_an_update_that_fails_on_one_document_keeps_those_before_it(make: Make) -> None:
    collection = make()
    collection.insert([record(1, n=1), record(2, n="text"), record(3, n=3)], ordered=True)

    with pytest.raises(DataApiError) as refused:
        collection.update(Update(Selection(), (set_to("seen", 1), Operation("$inc", ("n",), 1)), limit=10))

    assert refused.value.code == "UNSUPPORTED_UPDATE_OPERATION_TARGET"
    assert content(collection, 1) == {"_id": 1, "n": 2, "seen": 1}
    assert content(collection, 2) == {"_id": 2, "n": "text"}
    assert content(collection, 3) == {"_id": 3, "n": 3}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (FieldOrder((SortField(("n",), descending=True),)), 3),
        (FieldOrder((SortField(("n",)),)), 1),
        (VectorOrder(values(0, 1)), 2),
    ],
)
def test_the_first_of_an_order_is_updated(make: Make, order: Any, expected: int) -> None:
    collection = make(VECTORS)
    records = [Record(record(n, n=n).json, StoredVector(values(1, 1 if n == 2 else 0))) for n in (1, 2, 3)]
    collection.insert(records, ordered=True)

    changed = collection.update(
        Update(Selection(EVERYTHING, order), (set_to("hit", True),), image=Image.AFTER, projection=WHOLE)
    )

    assert image_of(changed)["_id"] == expected


@pytest.mark.parametrize(("image", "expected"), [(Image.BEFORE, {"n": 1}), (Image.AFTER, {"n": 2}), (Image.NONE, None)])
def test_the_image_is_projected(make: Make, image: Image, expected: Any) -> None:
    collection = make()
    collection.insert([record(1, n=1, other=0)], ordered=True)
    projection = Projection(include=True, paths=(("n",),), exclude_id=True)

    changed = collection.update(Update(by_id(1), (set_to("n", 2),), image=image, projection=projection))

    assert (changed.image and image_of(changed)) == expected


def test_what_an_update_changed_is_found_by_its_new_values_only(make: Make) -> None:
    collection = make()
    collection.insert([record(1, a=[1, 2], b="x")], ordered=True)

    collection.update(Update(by_id(1), (set_to("a", [3]), Operation("$unset", ("b",)))))

    for filter_, count in ((In(("a",), (1,)), 0), (In(("a",), (3,)), 1), (Exists(("a", "1")), 0), (Exists(("b",)), 0)):
        assert collection.count(filter_, 0) == (count, False)


def test_an_update_keeps_the_limits_of_the_collection(make: Make) -> None:
    collection = make(CollectionSettings(limits=DocumentLimits(max_array_elements=3, max_characters=100)))
    collection.insert([record(1, a=[1, 2, 3])], ordered=True)

    for operation in (
        Operation("$push", ("a",), [4]),
        set_to("text", "x" * 100),
        Operation("$set", ("a", "99999999"), 1),
    ):
        with pytest.raises(DataApiError) as refused:
            collection.update(Update(by_id(1), (operation,)))
        assert refused.value.code == "SHRED_DOC_LIMIT_VIOLATION"
    assert content(collection, 1) == {"_id": 1, "a": [1, 2, 3]}


def test_characters_are_counted_not_bytes(make: Make) -> None:
    collection = make(CollectionSettings(limits=DocumentLimits(max_characters=60)))
    collection.insert([record(1)], ordered=True)

    assert collection.update(Update(by_id(1), (set_to("text", "ä" * 40),))).modified == 1


# --- upserts ------------------------------------------------------------------------------------------------


def test_an_upsert_creates_what_the_operations_make_of_the_seed(make: Make) -> None:
    collection = make()
    update = Update(
        by_id("k"),
        (Operation("$inc", ("n",), 1), Operation("$setOnInsert", ("first",), True)),
        upsert=Record(b'{"kind":"x","_id":"k"}'),
        image=Image.AFTER,
    )

    first, second = collection.update(update), collection.update(update)

    assert (first.matched, first.modified, first.upserted_id) == (0, 0, b'"k"')
    assert encode(image_of(first)) == b'{"_id":"k","kind":"x","n":1,"first":true}'
    assert (second.matched, second.modified, second.upserted_id) == (1, 1, None)
    assert content(collection, "k")["n"] == 2


@pytest.mark.parametrize(
    ("operations", "expected"),
    [((), b'"new"'), ((Operation("$setOnInsert", ("_id",), {"$uuid": "9C5B94B1-35AD-49BB-B118-8E8FC24ABF80"}),), None)],
)
def test_the_id_of_an_upsert(make: Make, operations: tuple[Operation, ...], expected: bytes | None) -> None:
    changed = make().update(Update(Selection(), operations, upsert=Record(b"{}"), new_id=b'"new"'))

    assert changed.upserted_id == (expected or b'{"$uuid":"9c5b94b1-35ad-49bb-b118-8e8fc24abf80"}')


def test_an_upsert_shows_no_image_of_before(make: Make) -> None:
    assert make().update(Update(by_id(1), upsert=Record(b'{"_id":1}'), image=Image.BEFORE)).image is None


def test_an_upsert_does_not_overwrite(make: Make) -> None:
    collection = make()
    collection.insert([record(1, a=1)], ordered=True)

    with pytest.raises(DataApiError) as refused:
        collection.update(Update(Selection(In(("a",), (2,))), upsert=Record(b'{"_id":1}')))

    assert refused.value.code == "DOCUMENT_ALREADY_EXISTS"
    assert refused.value.document_ids == (b"1",)
    assert content(collection, 1) == {"_id": 1, "a": 1}


def test_going_on_after_a_position_creates_nothing(make: Make) -> None:
    collection = make()

    changed = collection.update(Update(Selection(), after=5, upsert=Record(b'{"_id":1}')))

    assert (changed.matched, changed.upserted_id) == (0, None)
    assert collection.totals() == (0, 0)


# --- vectors and their texts --------------------------------------------------------------------------------

TEXT = VectorizeText(b'"new"', values(5, 6))
NOT_EMBEDDED = VectorizeText(b'"new"')


@pytest.mark.parametrize(
    ("special", "vector", "vectorize", "lexical"),
    [
        (Special(vector=StoredVector(values(3, 4), b"[3,4]")), StoredVector(values(3, 4), b"[3,4]"), None, b'"l"'),
        (Special(vector=StoredVector(values(1, 2))), StoredVector(values(1, 2)), b'"old"', b'"l"'),
        (Special(vector=StoredVector(b"")), StoredVector(b""), None, b'"l"'),
        (Special(vectorize=TEXT), StoredVector(values(5, 6)), b'"new"', b'"l"'),
        (Special(vectorize=VectorizeText(b'"old"')), StoredVector(values(1, 2)), b'"old"', b'"l"'),
        (Special(blank_vectorize=b'" "'), StoredVector(b""), b'" "', b'"l"'),
        (Special(unset=True), None, None, b'"l"'),
        (Special(lexical=b"null"), StoredVector(values(1, 2)), b'"old"', b"null"),
        (Special(unset_lexical=True), StoredVector(values(1, 2)), b'"old"', None),
        (Special(vectorize=NOT_EMBEDDED, on_insert_only=True), StoredVector(values(1, 2)), b'"old"', b'"l"'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_special_assignments(
    make: Make, special: Special, vector: StoredVector | None, vectorize: bytes | None, lexical: bytes | None
) -> None:
    collection = make(VECTORS)
    before = Record(b'{"_id":1}', StoredVector(values(1, 2)), b'"old"', b'"l"')
    collection.insert([before], ordered=True)

    changed = collection.update(Update(by_id(1), specials=(special,)))

    after = Record(b'{"_id":1}', vector, vectorize, lexical)
    assert stored(collection, 1) == after
    assert changed.modified == int(after != before)
    searched, _ = collection.find(Selection(order=VectorOrder(values(1, 1))), WHOLE, skip=0, limit=9, after=0)
    expected = (
        [] if vector is None or not vector.values else [(1 + float(np.frombuffer(vector.values, "<f4").sum())) / 2]
    )
    assert [item.similarity for item in searched] == expected
    assert collection.totals() == (1, len(expected))


def test_a_text_without_its_vector_is_asked_for_and_nothing_changes(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([record(1, n=1), Record(b'{"_id":2}', None, b'"new"')], ordered=True)
    update = Update(Selection(), (set_to("n", 5),), (Special(vectorize=NOT_EMBEDDED),), limit=10)

    assert collection.update(update).embedding_needed
    assert content(collection, 1) == {"_id": 1, "n": 1}
    assert content(collection, 2) == {"_id": 2}


def test_a_text_is_not_asked_for_where_nothing_matches(make: Make) -> None:
    update = Update(Selection(), (), (Special(vectorize=NOT_EMBEDDED),))

    assert make(VECTORS).update(update) == Changed()


def test_an_upsert_asks_for_its_text(make: Make) -> None:
    collection = make(VECTORS)
    upsert = Record(b'{"_id":1}')

    asked = collection.update(Update(Selection(), (), (Special(vectorize=NOT_EMBEDDED),), upsert=upsert))
    done = collection.update(Update(Selection(), (), (Special(vectorize=TEXT, on_insert_only=True),), upsert=upsert))

    assert asked == Changed(embedding_needed=True)
    assert done.upserted_id == b"1"
    assert stored(collection, 1) == Record(b'{"_id":1}', StoredVector(values(5, 6)), b'"new"')


def test_a_vector_that_does_not_fit_is_refused(make: Make) -> None:
    for special in (
        Special(vector=StoredVector(values(1, 2, 3))),
        Special(vectorize=VectorizeText(b'"x"', values(1))),
    ):
        with pytest.raises(DataApiError) as refused:
            make(VECTORS).update(Update(Selection(), (), (special,)))
        assert refused.value.code == "INVALID_VECTOR_LENGTH"


# --- replacements -------------------------------------------------------------------------------------------


def test_a_replacement_keeps_the_id_as_it_was_and_nothing_else(make: Make) -> None:
    collection = make(VECTORS)
    uuid = {"$uuid": "9C5B94B1-35AD-49BB-B118-8E8FC24ABF80"}
    before = Record(encode({"_id": uuid, "old": 1}), StoredVector(values(1, 2)), b'"t"', b'"l"')  # type: ignore[dict-item]
    collection.insert([before], ordered=True)
    replacement = Record(b'{"a":1,"_id":"9c5b94b1-35ad-49bb-b118-8e8fc24abf80"}')

    changed = collection.replace(Replacement(Selection(), replacement, image=Image.AFTER, projection=EVERY_PART))

    assert (changed.matched, changed.modified) == (1, 1)
    assert image_of(changed) == {"_id": uuid, "a": 1}
    assert changed.image is not None
    assert changed.image.record.vector is None
    assert collection.count(Exists(("old",)), 0) == (0, False)
    assert collection.totals() == (1, 0)


def test_a_replacement_by_the_same_is_no_change(make: Make) -> None:
    collection = make()
    text = b'{"_id":1,"a":1.50,"b":[ ]}'
    collection.insert([Record(text)], ordered=True)

    changed = collection.replace(Replacement(by_id(1), Record(b'{"a":1.5,"b":[]}')))
    other_order = collection.replace(Replacement(by_id(1), Record(b'{"b":[],"a":1.5}')))

    assert (changed.matched, changed.modified) == (1, 0)
    assert (other_order.matched, other_order.modified) == (1, 1)


def test_a_replacement_cannot_have_another_id(make: Make) -> None:
    collection = make()
    collection.insert([record(1, a=1)], ordered=True)

    with pytest.raises(DataApiError) as refused:
        collection.replace(Replacement(by_id(1), Record(b'{"_id":2}')))

    assert refused.value.code == "DOCUMENT_REPLACE_DIFFERENT_DOCID"
    assert refused.value.details == {"matchedId": "1", "replaceId": "2"}


def test_a_replacement_creates_only_when_asked_to(make: Make) -> None:
    collection = make()

    assert collection.replace(Replacement(by_id(1), Record(b'{"a":1}'), new_id=b'"n"')) == Changed()
    created = collection.replace(
        Replacement(by_id(1), Record(b'{"a":1}'), upsert=True, new_id=b'"n"', image=Image.AFTER)
    )

    assert created.upserted_id == b'"n"'
    assert image_of(created) == {"_id": "n", "a": 1}


def test_a_replacement_asks_for_the_vector_of_a_new_text_only(make: Make) -> None:
    collection = make(VECTORS)
    collection.insert([Record(b'{"_id":1}', StoredVector(values(1, 2)), b'"old"')], ordered=True)

    same = collection.replace(Replacement(by_id(1), Record(b'{"a":1}', None, b'"old"')))
    other = collection.replace(Replacement(by_id(1), Record(b'{"a":2}', None, b'"new"')))

    assert not same.embedding_needed
    assert other == Changed(embedding_needed=True)
    assert stored(collection, 1) == Record(b'{"_id":1,"a":1}', StoredVector(values(1, 2)), b'"old"')
