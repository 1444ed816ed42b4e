"""The cache: what its keys tell apart, its bounds, and its file."""

from pathlib import Path

import numpy as np
import pytest

from services.embedder.cache import VectorCache, cache_key, cache_scope
from services.embedder.catalogue import load_catalogue
from services.embedder.entries import Purpose
from services.embedder.providers.wire import EmbeddingModel, ParameterValue
from services.embedder.settings import CacheSettings
from services.runtime.errors import ConfigurationError

CATALOGUE = load_catalogue()


def model(
    provider: str = "jinaAI",
    name: str = "jina-embeddings-v3",
    dimension: int = 8,
    purpose: Purpose = "document",
    **parameters: ParameterValue,
) -> EmbeddingModel:
    entry = CATALOGUE.get(provider)
    assert entry is not None
    found = entry.model(name)
    assert found is not None
    return EmbeddingModel(entry, found, dimension, parameters, purpose)


def key(used: EmbeddingModel, text: str = "t", database: str = "d", *, shared: bool = False) -> bytes:
    return cache_key(cache_scope(used, database, shared=shared), text)


def vector(number: float, length: int = 8) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    return np.full(length, number, np.float32)


@pytest.mark.parametrize(
    "other",
    [
        key(model(), "T"),
        key(model(), database="e"),
        key(model(dimension=9)),
        key(model(name="jina-embeddings-v2-base-en")),
        key(model("voyageAI", "voyage-code-2")),
        key(model(task="separation")),
        key(model(asymmetric=True)),
    ],
)
def test_everything_that_changes_a_vector_changes_its_key(other: bytes) -> None:
    assert key(model()) != other


@pytest.mark.parametrize(
    "same", [key(model(cache=True)), key(model(onTooLong="truncate")), key(model(purpose="query"))]
)
def test_what_does_not_change_it_does_not(same: bytes) -> None:
    assert key(model()) == same


def test_purposes_are_told_apart_where_the_provider_does() -> None:
    asked = {"asymmetric": True}

    assert key(model(**asked)) != key(model(purpose="query", **asked))
    voyage = ("voyageAI", "voyage-code-2", 8)
    assert key(model(*voyage)) != key(model(*voyage, purpose="query"))


def test_databases_share_only_where_it_is_configured() -> None:
    assert key(model(), database="a", shared=True) == key(model(), database="b", shared=True)


def test_the_least_recently_used_goes_first() -> None:
    cache = VectorCache(CacheSettings(bytes=3 * (300 + 32)))
    for name in (b"a", b"b", b"c"):
        cache.put(name, vector(1), 5)
    assert cache.get(b"a") is not None
    cache.put(b"d", vector(1), 5)

    assert [cache.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    assert cache.memory <= 3 * (300 + 32)


def test_what_is_remembered_cannot_be_changed() -> None:
    cache = VectorCache(CacheSettings())
    given = vector(1)
    cache.put(b"a", given, 5)
    given[0] = 9
    found = cache.get(b"a")

    assert found is not None
    assert found.vector.tolist() == [1.0] * 8
    with pytest.raises(ValueError, match="read-only"):
        found.vector[0] = 2


def test_a_file_outlives_the_process_and_its_bound_is_kept(tmp_path: Path) -> None:
    settings = CacheSettings(bytes=0, file=str(tmp_path / "cache.db"), file_bytes=200_000)
    first = VectorCache(settings)
    for number in range(1000):
        first.put(f"k{number}".encode(), vector(number, 64), number)
    first.close()
    assert (tmp_path / "cache.db").stat().st_mode & 0o077 == 0

    again = VectorCache(settings)
    kept = [number for number in range(1000) if again.get(f"k{number}".encode()) is not None]
    found = again.get(b"k999")
    assert found is not None
    assert (found.tokens, found.vector.tolist()) == (999, [999.0] * 64)
    assert 200 < len(kept) < 1000
    again.close()


def test_a_recorded_cache_is_read_alone(tmp_path: Path) -> None:
    file = str(tmp_path / "cache.db")
    recording = VectorCache(CacheSettings(file=file))
    recording.put(b"a", vector(1), 5)
    recording.close()

    recorded = VectorCache(CacheSettings(file=file, mode="recorded"))
    assert recorded.recorded
    assert recorded.get(b"a") is not None
    assert recorded.get(b"b") is None
    recorded.close()


@pytest.mark.parametrize(
    "settings", [CacheSettings(mode="recorded"), CacheSettings(mode="recorded", file="/nowhere/cache.db")]
)
def test_a_recording_that_is_not_there_ends_the_start(settings: CacheSettings) -> None:
    with pytest.raises(ConfigurationError, match="ORRERY_EMBEDDER_CACHE_FILE"):
        VectorCache(settings)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database at all" * 100)

    with pytest.raises(ConfigurationError, match=r"cache\.db"):
        VectorCache(CacheSettings(file=str(tmp_path / "cache.db")))


def test_a_file_that_cannot_be_written_costs_no_call(tmp_path: Path) -> None:
    cache = VectorCache(CacheSettings(file=str(tmp_path / "cache.db")))
    assert cache._file is not None
    cache._file.execute("DROP TABLE vectors")
    for number in range(600):
        cache.put(f"k{number}".encode(), vector(number), 1)

    assert cache.get(b"k5") is not None
    assert cache.get(b"never") is None
    cache.close()


def test_nothing_is_remembered_where_it_is_switched_off(tmp_path: Path) -> None:
    cache = VectorCache(CacheSettings(mode="off", file=str(tmp_path / "cache.db")))

    assert not cache.enabled
    assert not (tmp_path / "cache.db").exists()
