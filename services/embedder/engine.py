"""Embedding: a service resolved to a model and a key, then asked."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from services.embedder import minilm
from services.embedder.catalogue import Catalogue, Provider
from services.embedder.check import Service, credential_name
from services.embedder.credentials import CredentialStore
from services.embedder.providers.wire import Answer, EmbeddingModel, ParameterValue
from services.embedder.secret import Secret
from services.embedder.upstream import Upstream
from services.runtime.errors import DataApiError


@dataclass(frozen=True, slots=True)
class EmbedCall:
    """Texts to embed for a database; `request_key` is a key that came with the request, if any.

    `deadline` is in `time.monotonic` seconds.
    """

    database: str
    service: Service
    texts: Sequence[str]
    deadline: float
    request_key: Secret | None = None


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
        model = self._model(call.service)
        key = self._key(call, model.provider)
        if not call.texts:
            raise DataApiError(
                "EMBEDDING_REQUEST_ENCODING_ERROR",
                provider=model.provider.id,
                model=model.model.name,
                problem="it has no texts",
            )
        if model.provider.wire == "local":
            return await self._local(call)
        return await self._upstream.embed(model, call.texts, key, call.deadline)

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

    def _model(self, service: Service) -> EmbeddingModel:
        provider = self._catalogue.get(service.provider)
        model = None if provider is None else provider.model(service.model)
        if provider is None or model is None:
            what = f"its model '{service.model}'" if provider else "it"
            raise DataApiError(
                "EMBEDDING_PROVIDER_UNAVAILABLE",
                provider=service.provider,
                problem=f"{what} is not in the catalogue; findEmbeddingProviders lists what is",
            )
        if model.status == "END_OF_LIFE":
            raise DataApiError(
                "END_OF_LIFE_AI_MODEL",
                model=model.name,
                modelStatus=model.status,
                explanation=model.status_message or "no reason is given",
            )
        dimension = service.dimension or model.dimension
        if dimension is None and model.dimension_range is not None:
            dimension = model.dimension_range.default
        parameters: dict[str, ParameterValue] = {
            name: value for name, value in service.parameters.items() if isinstance(value, str | float | bool)
        }
        return EmbeddingModel(provider, model, dimension or 0, parameters)

    def _key(self, call: EmbedCall, provider: Provider) -> Secret | None:
        """Return the key for a call: that of the request, else the collection's stored one, if one is needed."""
        if call.request_key is not None:
            return call.request_key
        ways = provider.authentication
        name = call.service.authentication.get(ways.accepted_token)
        if name is not None:
            stored = credential_name(name, ways.accepted_token).removesuffix(f".{ways.accepted_token}")
            return self._credentials.secret(provider.id, stored, ways.accepted_token, call.database)
        if ways.none:
            return None
        raise DataApiError(
            "EMBEDDING_PROVIDER_AUTHENTICATION_KEYS_NOT_PROVIDED",
            provider=provider.id,
            problem=f"the collection names no stored key and the request has no header {ways.accepted_header}",
        )
