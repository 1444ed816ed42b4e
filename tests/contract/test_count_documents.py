"""countDocuments: exact up to a thousand."""

from tests.contract.api import Api, error_code


def test_counts(thirty: Api) -> None:
    assert thirty.count(filter={"even": True}) == 15
    assert thirty.count(filter={"n": {"$lt": 5}, "even": True}) == 3
    assert thirty.count(options={}) == 30
    assert error_code(thirty.run("countDocuments", filter={"n": {"$x": 1}})) == "FILTER_UNSUPPORTED_OPERATOR"


def test_counting_stops_at_a_thousand(documents: Api) -> None:
    for start in range(0, 1000, 100):
        documents.run("insertMany", documents=[{"_id": start + n} for n in range(100)])
    assert documents.run("countDocuments") == {"status": {"count": 1000}}

    documents.run("insertOne", document={})
    assert documents.run("countDocuments") == {"status": {"count": 1000, "moreData": True}}
