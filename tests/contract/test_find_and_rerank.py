"""findAndRerank: refused, as where the reference has reranking switched off."""

from tests.contract.api import Api, error_code


def test_reranking_is_not_enabled(texts: Api) -> None:
    members = {"filter": {"n": 1}, "sort": {"$hybrid": "x"}, "projection": {"n": 1}, "options": {"limit": 3}}

    assert error_code(texts.run("findAndRerank", **members)) == "RERANKING_FEATURE_NOT_ENABLED"


def test_a_header_does_not_switch_on_what_the_server_does_not_have(texts: Api) -> None:
    answer = texts.run("findAndRerank", headers={"Feature-Flag-reranking": "true"})

    assert error_code(answer) == "RERANKING_FEATURE_NOT_ENABLED"


def test_the_collection_is_looked_up_first(api: Api) -> None:
    api.collection = "nowhere"

    assert error_code(api.run("findAndRerank")) == "UNKNOWN_COLLECTION_OR_TABLE"
