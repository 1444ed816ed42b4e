"""A dry run: what a load would be and cost, without a write and without an embedding."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.documents.codec import JsonObject, encode, long_number
from services.embedder.catalogue import Catalogue
from services.embedder.entries import IN_PROCESS, Model, Provider
from services.embedder.minilm import MODEL_NAME, ModelUnavailableError, loaded_model
from services.embedder.settings import RateLimit
from services.gateway.collection import Collection, CollectionOptions
from services.gateway.documents import check_vectorize_usage, prepare_document
from services.gateway.limits import Limits
from services.runtime.errors import DataApiError
from services.transfer.sources import Rejection

_FLOAT32_BYTES = 4
#: A graph over the vectors, beside the vectors themselves.
_WITH_GRAPH = 1.3
_SHOWN_REJECTIONS = 20
_CHARACTERS_A_TOKEN = 4


@dataclass(slots=True)
class Forecast:
    """The figures of a load. None stands for what nobody here knows; `notes` say how the others were come by."""

    documents: int = 0
    bytes: int = 0
    texts: int = 0
    vectors: int = 0
    tokens: int = 0
    requests: int | None = None
    price: float | None = None
    seconds: float | None = None
    memory: int | None = None
    memory_with_graph: int | None = None
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    rejections: list[tuple[str, int, Rejection]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Forecaster:
    """Counts documents that would be loaded into a collection.

    `options` are those of the collection, None where it cannot be asked; `limits` are the embedder's, where they are
    known.
    """

    def __init__(
        self, options: Mapping[str, Any] | None, catalogue: Catalogue, limits: Sequence[RateLimit], size_documents: int
    ) -> None:
        self.result = Forecast()
        self._size_documents = size_documents
        self._limits = limits
        self._known = options is not None
        self._provider: Provider | None = None
        self._model: Model | None = None
        self._collection = self._read(options)
        self._tokens = self._counter(catalogue)

    def rejected(self, file: str, number: int, reason: Rejection) -> None:
        """Count a row that would not be loaded."""
        self.result.rejected += 1
        self.result.reasons[reason.code] += 1
        if len(self.result.rejections) < _SHOWN_REJECTIONS:
            self.result.rejections.append((file, number, reason))

    def document(self, file: str, number: int, document: JsonObject) -> None:
        """Count a document, or its rejection."""
        text = encode(document)
        digits = long_number(text, Limits().number_characters)
        if digits is not None:
            problem = f"a number has {digits} characters, over {Limits().number_characters}"
            self.rejected(file, number, Rejection("SHRED_DOC_LIMIT_VIOLATION", problem))
            return
        checked = document
        if not self._known and "$vectorize" not in document:
            # Nobody can say which length its vector has to have.
            checked = {name: value for name, value in document.items() if name != "$vector"}
        try:
            check_vectorize_usage(checked, 1, self._collection)
            prepared = prepare_document(checked, self._collection, Limits(), give_id=False)
        except DataApiError as error:
            self.rejected(file, number, Rejection(error.code, error.message))
            return
        self.result.documents += 1
        self.result.bytes += len(text)
        if prepared.text is not None:
            self.result.texts += 1
            self.result.tokens += self._tokens(prepared.text)
        if prepared.text is not None or document.get("$vector") is not None:
            self.result.vectors += 1

    def finish(self) -> Forecast:
        """Return the forecast with what follows from the counts."""
        result, vector = self.result, self._collection.options.vector
        if vector and vector.dimension:
            result.memory = result.vectors * vector.dimension * _FLOAT32_BYTES
            result.memory_with_graph = round(result.memory * _WITH_GRAPH)
        elif not vector:
            result.memory = result.memory_with_graph = 0
        if self._provider is None or self._model is None:
            return result
        result.requests = self._requests(self._provider, self._model)
        if self._provider.wire in IN_PROCESS:
            result.price = 0.0
        elif self._model.price_per_million_tokens is not None:
            result.price = result.tokens / 1_000_000 * self._model.price_per_million_tokens
        else:
            result.notes.append(f"The catalogue has no price of {self._provider.id} {self._model.name}.")
        result.seconds = self._seconds(self._provider, result.requests)
        return result

    def _read(self, options: Mapping[str, Any] | None) -> Collection:
        """Return the collection; one of any vectors and any service where its options are not known."""
        if options is None:
            self.result.notes.append(
                "The collection could not be asked: its limits, dimension and model are not known."
            )
            options = {
                "vector": {"dimension": 0, "metric": "euclidean", "sourceModel": "other", "service": {"provider": ""}}
            }
        known = msgspec.convert(options, CollectionOptions, strict=False)
        indexing = known.indexing.rules() if known.indexing is not msgspec.UNSET else None
        place = Collection("", "", "", "", known)
        return place if indexing is None else Collection("", "", "", "", known, indexing)

    def _counter(self, catalogue: Catalogue) -> Callable[[str], int]:
        vector = self._collection.options.vector
        service = vector.service if vector else None
        if service and service.provider:
            self._provider = catalogue.get(service.provider)
            self._model = self._provider.model(service.model_name) if self._provider else None
            if self._model is None:
                self.result.notes.append(
                    f"{service.provider} {service.model_name} is not in this catalogue: its price is not known."
                )
            if service.model_name == MODEL_NAME:
                try:
                    count = loaded_model().word_pieces
                except ModelUnavailableError:
                    pass
                else:
                    self.result.notes.append("Tokens were counted by the model's own tokenizer.")
                    return count
        self.result.notes.append(f"Tokens are an estimate: {_CHARACTERS_A_TOKEN} characters each.")
        return lambda text: math.ceil(len(text) / _CHARACTERS_A_TOKEN)

    def _requests(self, provider: Provider, model: Model) -> int:
        """Return how many requests the texts need at least."""
        texts = min(model.max_batch_size or provider.max_batch_size, self._size_documents)
        most_tokens = model.max_tokens_per_request or provider.max_tokens_per_request
        by_tokens = math.ceil(self.result.tokens / most_tokens) if most_tokens else 0
        return max(math.ceil(self.result.texts / texts), by_tokens)

    def _seconds(self, provider: Provider, requests: int) -> float | None:
        """Return how long the provider's limits a minute make it last; of a limit for one key alone nothing is said."""
        minutes = [0.0]
        for limit in self._limits:
            if limit.provider == provider.id and limit.key is None:
                minutes.append(requests / limit.requests if limit.requests else 0.0)
                minutes.append(self.result.tokens / limit.tokens if limit.tokens else 0.0)
        if max(minutes) == 0.0:
            if provider.wire not in IN_PROCESS:
                self.result.notes.append(
                    "No rate limit is known: name those of your plan in the file of ORRERY_EMBEDDER_CONFIG."
                )
            return None
        return max(minutes) * 60


def lines_of(forecast: Forecast) -> list[str]:
    """Return a forecast as people read it."""
    unknown = "unknown"
    price = unknown if forecast.price is None else f"{forecast.price:,.4f} USD"
    seconds = unknown if forecast.seconds is None else f"{forecast.seconds:,.0f} s at the least, by the rate limit"
    memory = unknown
    if forecast.memory is not None and forecast.memory_with_graph is not None:
        memory = f"{_size(forecast.memory)} for vectors, about {_size(forecast.memory_with_graph)} with a graph"
    lines = [
        f"documents        {forecast.documents:,}",
        f"bytes            {forecast.bytes:,}",
        f"texts to embed   {forecast.texts:,}",
        f"tokens           {forecast.tokens:,}",
        f"requests         {unknown if forecast.requests is None else f'{forecast.requests:,}'}",
        f"price            {price}",
        f"time             {seconds}",
        f"memory           {memory}",
        f"rejected         {forecast.rejected:,}",
    ]
    lines += [f"  {count:,} {code}" for code, count in forecast.reasons.most_common()]
    lines += [f"  {file} row {number}: {reason.message}" for file, number, reason in forecast.rejections]
    if forecast.rejected > len(forecast.rejections):
        lines.append(f"  and {forecast.rejected - len(forecast.rejections):,} more")
    return lines + forecast.notes


def _size(size: int) -> str:
    return f"{size / 1024:,.1f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:,.1f} MiB"
