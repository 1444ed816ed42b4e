"""Embedding: a service resolved to a model and a key, then asked."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.embedder import minilm
from services.embedder.catalogue import Catalogue
from services.embedder.check import Service, credential_name
from services.embedder.credentials import CredentialStore
from services.embedder.entries import Provider, Purpose
from services.embedder.providers import deterministic
from services.embedder.providers.wire import Answer, EmbeddingModel, ParameterValue
from services.embedder.secret import Secret
from services.embedder.upstream import Upstream
from services.runtime.errors import DataApiError


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """Texts to embed for a database.

    `deadline` is in `time.monotonic` seconds; `request_keys` are secrets that came with the request, by header.
    """

    database: str
    service: Service
    texts: Sequence[str]
    deadline: float
    request_keys: Mapping[str, Secret] = field(default_factory=dict)
    purpose: Purpose = "document"


class EmbeddingEngine:
    """Embeds texts with any model of the catalogue."""

    def __init__(self, catalogue: Catalogue, credentials: CredentialStore, upstream: Upstream) -> None:
        self._catalogue = catalogue
        self._credentials = credentials
        self._upstream = upstream

    async def embed(self, call: EmbedCall) -> Answer:
        """Return the vectors float32[n, d] of all texts of a call.

        Raises `DataApiError`: `EMBEDDING_PROVIDER_*`, `VECTORIZE_CREDENTIAL_INVALID`.
        """
        model = self._model(call.service, call.purpose)
        keys = self._keys(call, model.provider)
        if not call.texts:
            raise DataApiError(
                "EMBEDDING_REQUEST_ENCODING_ERROR",
                provider=model.provider.id,
                model=model.model.name,
                problem="it has no texts",
            )
        if model.provider.wire == "local":
            return await self._local(call)
        if model.provider.wire == "deterministic":
            return deterministic.embed(call.texts, model.dimension)
        return await self._upstream.embed(model, call.texts, keys, call.deadline)

    async def _local(self, call: EmbedCall) -> Answer:
        try:
            async with asyncio.timeout(call.deadline - time.monotonic()):
                model = await asyncio.to_thread(minilm.loaded_model)
                return Answer(await asyncio.to_thread(model.embed, call.texts))
        except TimeoutError:
            raise DataApiError(
                "EMBEDDING_PROVIDER_TIMEOUT",
                provider=call.service.provider,
                problem=f"{len(call.texts)} texts were not embedded within the caller's deadline",
            ) from None
        except minilm.ModelUnavailableError as problem:
            raise DataApiError(
                "EMBEDDING_PROVIDER_UNAVAILABLE", provider=call.service.provider, problem=problem
            ) from None

    def _model(self, service: Service, purpose: Purpose) -> EmbeddingModel:
        provider = self._catalogue.get(service.provider)
        model = None if provider is None else provider.model(service.model)
        if provider is None or model is None:
            problem = f"its model '{service.model}' is not in the catalogue; findEmbeddingProviders lists what is"
            if provider is None:
                problem = self._catalogue.why_not(service.provider)
            raise DataApiError("EMBEDDING_PROVIDER_UNAVAILABLE", provider=service.provider, problem=problem)
        if model.status == "END_OF_LIFE":
            raise DataApiError(
                "END_OF_LIFE_AI_MODEL",
                model=model.name,
                modelStatus=model.status,
                explanation=model.status_message or "no reason is given",
            )
        dimension = service.dimension or model.dimension
        if dimension is None and model.dimensions is not None:
            dimension = model.dimensions.default
        parameters: dict[str, ParameterValue] = {
            name: value for name, value in service.parameters.items() if isinstance(value, str | float | bool)
        }
        return EmbeddingModel(provider, model, dimension or 0, parameters, purpose)

    def _keys(self, call: EmbedCall, provider: Provider) -> dict[str, Secret]:
        """Return the secrets for a call, by the provider's names for them.

        Each is that of the request, where the provider takes that, else the collection's stored one. A provider that
        needs no key may get one.
        """
        ways = provider.authentication
        given = call.request_keys if ways.header or ways.none else {}
        keys: dict[str, Secret] = {}
        stored: dict[str, str] = {}
        missing: list[str] = []
        for token in ways.tokens:
            name = call.service.authentication.get(token.accepted_token)
            if token.accepted_header in given:
                keys[token.accepted_token] = given[token.accepted_header]
            elif name is not None:
                stored[token.accepted_token] = credential_name(name, token.accepted_token).removesuffix(
                    f".{token.accepted_token}"
                )
            else:
                missing.append(token.accepted_header)
        # All at once, so that a key of several secrets is never half of one version and half of another.
        if stored:
            keys |= self._credentials.secrets(provider.id, stored, call.database)
        if missing and not ways.none:
            raise DataApiError(
                "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED",
                provider=provider.id,
                problem=f"the collection names no stored key and the request has no header {' and '.join(missing)}",
            )
        return keys
