"""createCollection: its options, their checks in their order, their defaults, and creating again."""

from typing import Any

import pytest

from tests.contract.api import Api, error_code

DISABLED = {"lexical": {"enabled": False}, "rerank": {"enabled": False}}

LOCAL = {"provider": "local", "modelName": "sentence-transformers/all-MiniLM-L6-v2"}


def create(api: Api, **options: Any) -> dict[str, Any]:
    """Create the collection `c` with these options."""
    return api.at_keyspace("createCollection", name="c", options=options)


def test_a_collection_without_options(fresh: Api) -> None:
    assert fresh.at_keyspace("createCollection", name="c") == {"status": {"ok": 1}}
    assert fresh.at_keyspace("findCollections") == {"status": {"collections": ["c"]}}
    assert fresh.options_of("c") == DISABLED


def test_names_tell_upper_from_lower_case(fresh: Api) -> None:
    fresh.at_keyspace("createCollection", name="books")
    fresh.at_keyspace("createCollection", name="Books")

    assert sorted(fresh.at_keyspace("findCollections")["status"]["collections"]) == ["Books", "books"]


@pytest.mark.parametrize("name", ["", "a-b", "x" * 49, "${car}", None])
def test_a_bad_name_is_refused(fresh: Api, name: object) -> None:
    assert error_code(fresh.at_keyspace("createCollection", name=name)) == "UNSUPPORTED_SCHEMA_NAME"


def test_the_keyspace_is_looked_up_before_the_name(fresh: Api) -> None:
    fresh.keyspace = "nowhere"

    assert error_code(fresh.at_keyspace("createCollection", name="a-b")) == "UNKNOWN_KEYSPACE"


@pytest.mark.parametrize(
    ("given", "metric", "source_model"),
    [
        ({}, "cosine", "other"),
        ({"metric": "euclidean"}, "euclidean", "other"),
        ({"sourceModel": "bert"}, "dot_product", "bert"),
        ({"sourceModel": "other"}, "cosine", "other"),
        ({"metric": "cosine", "sourceModel": "ada002"}, "cosine", "ada002"),
        ({"function": "dot_product"}, "dot_product", "other"),
        ({"sourceModel": "cohere-v3"}, "dot_product", "cohere-v3"),
        ({"sourceModel": "gecko"}, "dot_product", "gecko"),
        ({"sourceModel": "nv-qa-4"}, "dot_product", "nv-qa-4"),
        ({"sourceModel": "openai-v3-large"}, "dot_product", "openai-v3-large"),
        ({"sourceModel": "openai-v3-small"}, "dot_product", "openai-v3-small"),
    ],
)
def test_metric_and_source_model_have_defaults(
    fresh: Api, given: dict[str, str], metric: str, source_model: str
) -> None:
    create(fresh, vector={"dimension": 5, **given})

    expected = {"dimension": 5, "metric": metric, "sourceModel": source_model}
    assert fresh.options_of("c") == {"vector": expected, **DISABLED}


def test_size_is_another_name_of_dimension(fresh: Api) -> None:
    create(fresh, vector={"size": 7})

    assert fresh.options_of("c")["vector"]["dimension"] == 7


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"vector": {"dimension": 0}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"vector": {"dimension": -1}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"vector": {"dimension": {}}}, "REQUEST_STRUCTURE_MISMATCH"),
        ({"vector": {"dimension": 4097}}, "VECTOR_SEARCH_TOO_BIG_VALUE"),
        ({"vector": {}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"vector": {"metric": "cosine"}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"vector": {"dimension": 5, "metric": "Cosine"}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"vector": {"dimension": 5, "sourceModel": "x"}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"vector": {"dimension": 5, "x": 1}}, "INVALID_CREATE_COLLECTION_FIELD"),
        ({"InDex": {}}, "INVALID_CREATE_COLLECTION_FIELD"),
        ({"indexing": {"x": []}}, "INVALID_CREATE_COLLECTION_FIELD"),
        ({"defaultId": {"x": 1}}, "INVALID_CREATE_COLLECTION_FIELD"),
        ({"vector": {"service": {"x": 1}}}, "COMMAND_FIELD_UNKNOWN"),
        ({"defaultId": {"type": "UUID"}}, "COMMAND_FIELD_VALUE_INVALID"),
        ({"indexing": {}}, "INVALID_INDEXING_DEFINITION"),
        ({"indexing": {"allow": ["a"], "deny": ["b"]}}, "INVALID_INDEXING_DEFINITION"),
        ({"indexing": {"allow": ["a", "a"]}}, "INVALID_INDEXING_DEFINITION"),
        ({"indexing": {"deny": [""]}}, "INVALID_INDEXING_DEFINITION"),
        ({"indexing": {"deny": ["$x"]}}, "INVALID_INDEXING_DEFINITION"),
        ({"indexing": {"deny": ["pricing.price&usd"]}}, "INVALID_INDEXING_DEFINITION"),
        ({"lexical": {}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"lexical": {"enabled": False, "analyzer": ""}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"lexical": {"enabled": True, "analyzer": 5}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"lexical": {"enabled": True, "analyzer": {"tokeniser": {}}}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"lexical": {"enabled": True}}, "LEXICAL_FEATURE_NOT_ENABLED"),
        ({"rerank": {}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"rerank": {"enabled": False, "service": {"provider": "p"}}}, "INVALID_CREATE_COLLECTION_OPTIONS"),
        ({"rerank": {"enabled": True}}, "RERANKING_FEATURE_NOT_ENABLED"),
    ],
)
def test_bad_options_are_refused_and_create_nothing(fresh: Api, options: dict[str, Any], code: str) -> None:
    assert error_code(create(fresh, **options)) == code
    assert fresh.at_keyspace("findCollections") == {"status": {"collections": []}}


@pytest.mark.parametrize(
    ("service", "code", "names"),
    [
        ({}, "INVALID_CREATE_COLLECTION_OPTIONS", ["provider"]),
        ({"provider": "none"}, "INVALID_CREATE_COLLECTION_OPTIONS", ["none"]),
        (
            {"provider": "huggingface", "authentication": {"other": "k"}},
            "INVALID_CREATE_COLLECTION_OPTIONS",
            ["huggingface", "other"],
        ),
        (
            {"provider": "huggingface", "authentication": {"providerKey": "missing"}},
            "VECTORIZE_CREDENTIAL_INVALID",
            ["missing", "default", "orrery keys"],
        ),
        ({"provider": "huggingface"}, "INVALID_CREATE_COLLECTION_OPTIONS", ["huggingface"]),
        ({"provider": "huggingface", "modelName": "m"}, "INVALID_CREATE_COLLECTION_OPTIONS", ["m", "huggingface"]),
        ({**LOCAL, "parameters": {"x": 1}}, "INVALID_CREATE_COLLECTION_OPTIONS", ["x", "local"]),
        (
            {
                "provider": "jinaAI",
                "modelName": "jina-embeddings-v3",
                "parameters": {"late_chunking": "yes"},
            },
            "INVALID_CREATE_COLLECTION_OPTIONS",
            ["late_chunking", "boolean"],
        ),
    ],
)
def test_a_service_that_does_not_fit_is_refused(
    fresh: Api, service: dict[str, Any], code: str, names: list[str]
) -> None:
    answer = create(fresh, vector={"service": service})

    assert error_code(answer) == code
    for name in names:
        assert name in answer["errors"][0]["message"]


def test_a_dimension_other_than_the_models_is_refused_naming_both(fresh: Api) -> None:
    answer = create(fresh, vector={"dimension": 123, "service": LOCAL})

    assert error_code(answer) == "INVALID_CREATE_COLLECTION_OPTIONS"
    assert "123" in answer["errors"][0]["message"]
    assert "384" in answer["errors"][0]["message"]


def test_the_dimension_may_be_left_out_and_creating_with_it_is_the_same(fresh: Api) -> None:
    assert create(fresh, vector={"service": LOCAL}) == {"status": {"ok": 1}}
    assert create(fresh, vector={"dimension": 384, "service": LOCAL}) == {"status": {"ok": 1}}

    expected = {"dimension": 384, "metric": "cosine", "sourceModel": "other", "service": LOCAL}
    assert fresh.options_of("c")["vector"] == expected


def test_a_free_dimension_has_its_default_and_its_range(fresh: Api) -> None:
    service = {"provider": "jinaAI", "modelName": "jina-embeddings-v3"}
    answer = create(fresh, vector={"dimension": 1025, "service": service})
    assert error_code(answer) == "INVALID_CREATE_COLLECTION_OPTIONS"
    assert "1025" in answer["errors"][0]["message"]

    create(fresh, vector={"service": service})
    assert fresh.options_of("c")["vector"]["dimension"] == 1024


@pytest.mark.parametrize(
    "options",
    [
        {"vector": {"dimension": 5}},
        {"indexing": {"deny": ["a.b", "c"]}},
        {"indexing": {"allow": ["*"]}},
        {"defaultId": {"type": "uuidv7"}},
        {"lexical": {"enabled": False}},
    ],
)
def test_creating_again_with_the_same_settings_is_fine_and_with_others_is_not(
    fresh: Api, options: dict[str, Any]
) -> None:
    create(fresh, **options)
    before = fresh.options_of("c")

    assert create(fresh, **options) == {"status": {"ok": 1}}
    assert error_code(create(fresh, vector={"dimension": 6})) == "EXISTING_COLLECTION_DIFFERENT_SETTINGS"
    assert fresh.options_of("c") == before


def test_the_order_of_indexed_paths_has_no_meaning(fresh: Api) -> None:
    create(fresh, indexing={"deny": ["a", "b"]})

    assert create(fresh, indexing={"deny": ["b", "a"]}) == {"status": {"ok": 1}}


def test_absent_and_uuid_are_different_settings(fresh: Api) -> None:
    create(fresh)

    answer = create(fresh, defaultId={"type": "uuid"})
    assert error_code(answer) == "EXISTING_COLLECTION_DIFFERENT_SETTINGS"


def test_too_many_collections_are_refused_with_both_numbers(fresh: Api) -> None:
    fresh.at_keyspace("createCollection", name="first")
    answers = [fresh.at_keyspace("createCollection", name=f"c{number}") for number in range(100)]

    refused = next(answer for answer in answers if "errors" in answer)
    assert error_code(refused) == "TOO_MANY_COLLECTIONS"
    assert "100" in refused["errors"][0]["message"]
    assert fresh.at_keyspace("createCollection", name="first") == {"status": {"ok": 1}}


@pytest.mark.parametrize("option", ["vector", "indexing", "defaultId", "lexical", "rerank"])
def test_a_null_option_is_an_absent_one(fresh: Api, option: str) -> None:
    assert create(fresh, **{option: None}) == {"status": {"ok": 1}}
    assert fresh.options_of("c") == DISABLED


def test_a_header_does_not_switch_on_what_the_server_does_not_have(fresh: Api) -> None:
    body = {"createCollection": {"name": "c", "options": {"lexical": {"enabled": True}}}}

    answer = fresh.raw("/v1/ddl", body, headers={"Feature-Flag-lexical": "true"})

    assert error_code(answer) == "LEXICAL_FEATURE_NOT_ENABLED"


RERANKING = {"provider": "nvidia", "modelName": "nvidia/llama-3.2-nv-rerankqa-1b-v2"}


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ({}, ["provider"]),
        ({"provider": None, "modelName": "m"}, ["provider"]),
        ({"provider": "unknown"}, ["unknown"]),
        ({"provider": "nvidia"}, ["nvidia", "modelName"]),
        ({"provider": "nvidia", "modelName": "unknown"}, ["nvidia", "unknown"]),
        ({**RERANKING, "authentication": {"providerKey": "k"}}, ["nvidia", "authentication"]),
        ({**RERANKING, "parameters": {"test": "test"}}, ["nvidia", "parameters"]),
    ],
)
def test_a_bad_reranking_service_is_told_before_that_reranking_is_not_offered(
    fresh: Api, service: dict[str, Any], names: list[str]
) -> None:
    answer = fresh.at_keyspace("createCollection", name="c", options={"rerank": {"enabled": True, "service": service}})

    assert error_code(answer) == "INVALID_CREATE_COLLECTION_OPTIONS"
    assert all(name in answer["errors"][0]["message"] for name in names)


@pytest.mark.parametrize("service", [None, RERANKING, {**RERANKING, "authentication": {}, "parameters": {}}])
def test_a_good_reranking_service_is_not_offered(fresh: Api, service: object) -> None:
    answer = fresh.at_keyspace("createCollection", name="c", options={"rerank": {"enabled": True, "service": service}})

    assert error_code(answer) == "RERANKING_FEATURE_NOT_ENABLED"


@pytest.mark.parametrize("service", [None, {}, {"provider": None}])
def test_reranking_can_be_declared_disabled(fresh: Api, service: object) -> None:
    answer = fresh.at_keyspace("createCollection", name="c", options={"rerank": {"enabled": False, "service": service}})

    assert answer == {"status": {"ok": 1}}


@pytest.mark.parametrize("enabled", [True, False])
def test_an_unknown_member_of_a_reranking_service_is_refused(fresh: Api, enabled: bool) -> None:
    rerank = {"enabled": enabled, "service": {**RERANKING, "x": 1}}

    answer = fresh.at_keyspace("createCollection", name="c", options={"rerank": rerank})
    assert error_code(answer) == "COMMAND_FIELD_UNKNOWN"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"vector": {"dimension": 3, "metric": ""}}, "command.options.vector.metric"),
        ({"vector": {"dimension": 3, "function": ""}}, "command.options.vector.metric"),
        ({"vector": {"dimension": 3, "sourceModel": ""}}, "command.options.vector.sourceModel"),
        ({"defaultId": {"type": ""}}, "command.options.idConfig.idType"),
    ],
)
def test_an_empty_choice_is_none_of_the_choices(fresh: Api, options: dict[str, Any], field: str) -> None:
    answer = fresh.at_keyspace("createCollection", name="c", options=options)

    assert error_code(answer) == "COMMAND_FIELD_VALUE_INVALID"
    assert f"'{field}'" in answer["errors"][0]["message"]


@pytest.mark.parametrize("name", [{}, []])
def test_a_name_that_is_no_scalar_has_the_wrong_structure(fresh: Api, name: object) -> None:
    assert error_code(fresh.at_keyspace("createCollection", name=name)) == "REQUEST_STRUCTURE_MISMATCH"


def test_a_number_as_a_name_is_taken_as_its_text(fresh: Api) -> None:
    assert fresh.at_keyspace("createCollection", name=5) == {"status": {"ok": 1}}

    assert fresh.at_keyspace("findCollections") == {"status": {"collections": ["5"]}}
