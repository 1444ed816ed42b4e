"""A whole request to a provider: where to, with which headers and body. What sends it needs to know nothing more."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.embedder.address import address
from services.embedder.providers import WIRE_FORMATS
from services.embedder.providers.wire import EmbeddingModel, Unsigned
from services.embedder.secret import Secret
from services.runtime.errors import DataApiError


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """A POST. Its headers carry the key and its body the texts, so neither shows."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def make_request(model: EmbeddingModel, texts: Sequence[str], keys: Mapping[str, Secret]) -> ProviderRequest:
    """Return the request for a batch of texts; `keys` are secrets by the provider's names for them, maybe none.

    Signatures are made now and hold for minutes: make another request for every attempt. Raises
    `EMBEDDING_REQUEST_ENCODING_ERROR` where a parameter or a key cannot be sent.
    """
    wire = WIRE_FORMATS[model.provider.wire]
    try:
        url = address(model.provider, model.model, model.parameters)
    except ValueError as problem:
        raise _not_encodable(model, str(problem)) from None
    headers = {"Content-Type": "application/json", "Accept": "application/json", **model.headers()}
    _check_headers(model, headers, "a parameter")
    for secret in keys.values():
        _check_headers(model, {"": secret.reveal()}, "the key")
    body = json.dumps(wire.request_body(model, texts), ensure_ascii=False).encode()
    headers |= wire.authorise(model, Unsigned(url, headers, body), keys)
    return ProviderRequest(url, headers, body)


def _check_headers(model: EmbeddingModel, headers: Mapping[str, str], what: str) -> None:
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise _not_encodable(model, f"{what} has characters that a header cannot hold")


def _not_encodable(model: EmbeddingModel, problem: str) -> DataApiError:
    return DataApiError(
        "EMBEDDING_REQUEST_ENCODING_ERROR", provider=model.provider.id, model=model.model.name, problem=problem
    )
