"""The data of a run: documents, queries and the right answers, made once and kept under `build`.

A document's number is its id. Documents from the end of the data, with numbers after all others, are held back for the
writes of the mixed load; queries are no documents.
"""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.store.synthetic import synthetic_text, synthetic_vectors

DIMENSION = 384
QUERIES, RESERVE = 1_000, 2_000
#: The first queries choose each contender's effort; what is measured is measured with the others.
TUNING_QUERIES = 200
TOP = 10
#: Documents of which the smallest category can fill an answer.
LEAST = 1_000

#: Categories, and of a hundred documents how many are in each.
SHARES = {"rare": 1, "some": 10, "half": 50, "rest": 39}
CATEGORIES = tuple(SHARES)
#: Those that searches are narrowed to. The whole collection goes by the empty name.
FILTERS = ("", "rare", "some", "half")

#: Sentences of one file of the kept vectors.
_EMBEDDED_AT_ONCE = 1_000

Float32 = NDArray[np.float32]
Kind = Literal["real", "synthetic"]


class Manifest(msgspec.Struct):
    """What data is, and what it took to make."""

    kind: Kind
    documents: int
    sha256: str
    """Of queries, reserve and documents' vectors."""
    sentences: int = 0
    """How many there were to choose from; 0 for synthetic data."""
    embedded_per_second: float | None = None
    """Sentences the local model embedded a second; None where all had been kept."""


@dataclass(frozen=True)
class Truth:
    """The exact answers to every query over the first documents, in one category or all."""

    nearest: NDArray[np.int64]
    """int64[queries, 10], the nearest first."""
    tenth: Float32
    """float32[queries]: the cosine of the last of them. Whatever is as near is as right."""


@dataclass(frozen=True)
class Dataset:
    """Data in memory or mapped into it."""

    folder: Path
    manifest: Manifest
    vectors: Float32
    """float32[documents + reserve, 384], of length one."""
    queries: Float32
    texts: Sequence[str]
    """Of real documents, the reserve after them; empty for synthetic ones."""

    @property
    def size(self) -> int:
        """Return the number of documents."""
        return self.manifest.documents

    def text(self, number: int) -> str:
        """Return a document's text."""
        return self.texts[number] if self.texts else synthetic_text(number)

    def truth(self, documents: int, category: str) -> Truth:
        """Return the right answers over the first documents; computed once."""
        path = self.folder / f"truth-{documents}-{category or 'all'}.npz"
        if not path.exists():
            chosen = np.arange(documents)
            if category:
                chosen = np.flatnonzero(categories(documents) == CATEGORIES.index(category))
            found = exact(self.vectors[:documents][chosen] if category else self.vectors[:documents], self.queries)
            # Several processes of a load may be here at once: each writes its own, and all are the same.
            partial = path.with_suffix(f".{os.getpid()}.partial")
            with partial.open("wb") as file:
                np.savez(file, nearest=chosen[found.nearest], tenth=found.tenth)
            partial.rename(path)
        kept = np.load(path)
        return Truth(kept["nearest"], kept["tenth"])


def exact(vectors: Float32, queries: Float32, top: int = TOP) -> Truth:
    """Return the nearest of some vectors to each query, by their product with every one of them."""
    nearest, tenth = [], []
    for part in np.array_split(queries, max(1, len(queries) // 50)):
        cosines = part @ vectors.T
        best = np.argpartition(-cosines, top - 1, axis=1)[:, :top]
        values = np.take_along_axis(cosines, best, 1)
        order = np.argsort(-values, axis=1, kind="stable")
        nearest.append(np.take_along_axis(best, order, 1))
        tenth.append(values.min(axis=1))
    return Truth(np.concatenate(nearest).astype(np.int64), np.concatenate(tenth))


def categories(count: int) -> NDArray[np.int64]:
    """Return the category of each document, as a number: exactly its share of every hundred, mixed within it."""
    hundred = np.repeat(np.arange(len(CATEGORIES)), list(SHARES.values()))
    rows = np.tile(hundred, (-(-count // 100), 1))
    return np.random.default_rng(5).permuted(rows, axis=1).ravel()[:count]


def prepare(kind: Kind, size: int, home: Path, say: Callable[[str], None]) -> Path:
    """Return the folder of some data, made where it is not there."""
    if size % 100 or size < LEAST:
        raise ValueError(f"documents must be a multiple of 100, for exact shares, and at least {LEAST:,}")
    folder = home / f"{kind}-{size}"
    if (folder / "manifest.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    needed = QUERIES + RESERVE + size
    texts: list[str] = []
    if kind == "real":
        from benchmarks.store.corpus import installed_sentences

        every = installed_sentences()
        if len(every) < needed:
            raise ValueError(f"there are {len(every)} sentences, which is {needed - len(every)} too few")
        texts, sentences = every[:needed], len(every)
        vectors, rate = _embedded(texts, home / "embedded", say)
    else:
        sentences, rate = 0, None
        vectors = synthetic_vectors(needed)
    kept, digest = np.roll(vectors[QUERIES:], -RESERVE, axis=0), hashlib.sha256(vectors.tobytes()).hexdigest()
    np.save(folder / "queries.npy", vectors[:QUERIES])
    np.save(folder / "vectors.npy", kept)
    ordered = [*texts[QUERIES + RESERVE :], *texts[QUERIES : QUERIES + RESERVE]]
    (folder / "texts.json").write_bytes(msgspec.json.encode(ordered))
    manifest = Manifest(kind, size, digest, sentences, rate)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))  # last: what has one is complete
    return folder


def opened(folder: Path) -> Dataset:
    """Return prepared data, its vectors mapped."""
    return Dataset(
        folder,
        msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest),
        np.load(folder / "vectors.npy", mmap_mode="r"),
        np.load(folder / "queries.npy"),
        msgspec.json.decode((folder / "texts.json").read_bytes(), type=list[str]),
    )


def _embedded(texts: Sequence[str], home: Path, say: Callable[[str], None]) -> tuple[Float32, float | None]:
    """Return the vectors of texts, and how many the model made a second; what was made before is kept by content."""
    # The model is not in the peers' environment, whose processes open data too.
    from services.embedder.minilm import loaded_model

    home.mkdir(parents=True, exist_ok=True)
    parts, made, seconds = [], 0, 0.0
    for at in range(0, len(texts), _EMBEDDED_AT_ONCE):
        portion = texts[at : at + _EMBEDDED_AT_ONCE]
        path = home / f"{hashlib.sha256(chr(0).join(portion).encode()).hexdigest()[:24]}.npy"
        if not path.exists():
            begin = time.perf_counter()
            vectors = loaded_model().embed(portion)
            seconds, made = seconds + time.perf_counter() - begin, made + len(portion)
            partial = path.with_suffix(".partial")
            with partial.open("wb") as file:
                np.save(file, vectors)
            partial.rename(path)
            say(f"embedded {at + len(portion):,} of {len(texts):,} sentences, {made / seconds:.0f} a second")
        parts.append(np.load(path))
    return np.concatenate(parts), made / seconds if made else None


if __name__ == "__main__":
    print(prepare("real", int(sys.argv[1]), Path(sys.argv[2]), print))
