"""The embedder as the gateway uses it: texts of a collection in, vectors out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import cast

import grpc
from orrery.embedder.v1 import embedder_pb2, embedder_pb2_grpc

from services.documents.codec import JsonValue, encode
from services.gateway.collection import Collection, ServiceOptions
from services.gateway.remote import embedder_remote
from services.runtime.errors import DataApiError

_FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class EmbeddingHeaders:
    """What the headers of one request say of embedding: provider keys, whose values never show, and of the cache."""

    api_key: str = field(default="", repr=False)
    access_id: str = field(default="", repr=False)
    secret_id: str = field(default="", repr=False)
    cache: bool = True

    def secrets(self) -> embedder_pb2.RequestSecrets:
        """Return the secrets as the embedder takes them."""
        return embedder_pb2.RequestSecrets(api_key=self.api_key, access_id=self.access_id, secret_id=self.secret_id)


@dataclass(frozen=True, slots=True)
class TextVectors:
    """Vectors by text: little-endian float32, or the error of a text that failed alone; and warnings."""

    vectors: Sequence[bytes | DataApiError]
    warnings: Sequence[DataApiError]


class Embedding:
    """The embedder's RPCs for one gateway."""

    def __init__(self, channel: grpc.aio.Channel, timeout_seconds: float) -> None:
        self.rpc = embedder_pb2_grpc.EmbedderServiceStub(channel)
        self.remote = embedder_remote(timeout_seconds)

    async def embed(
        self,
        collection: Collection,
        texts: Sequence[str],
        headers: EmbeddingHeaders,
        *,
        search: bool,
        partial: bool = False,
    ) -> TextVectors:
        """Return the vector of each text, of the collection's dimension.

        `search` tells texts to search with from texts to store. With `partial` a text that the provider refuses fails
        alone, otherwise it fails the call. All texts go in one call.

        Raises `EMBEDDING_SERVICE_NOT_CONFIGURED` for a collection without a service, and whatever the embedder
        raises.
        """
        vector = collection.options.vector
        if not vector or not vector.service:
            raise DataApiError(
                "EMBEDDING_SERVICE_NOT_CONFIGURED", keyspace=collection.keyspace, collection=collection.name
            )
        request = embedder_pb2.EmbedRequest(
            database=collection.database,
            service=service_message(vector.service, vector.dimension),
            request_secrets=headers.secrets(),
            input_type=embedder_pb2.INPUT_TYPE_SEARCH if search else embedder_pb2.INPUT_TYPE_INDEX,
            texts=texts,
            partial=partial,
            skip_cache=not headers.cache,
        )
        response = await self.remote.call(self.rpc.Embed, request)
        size = vector.dimension * _FLOAT32_BYTES
        if len(response.vectors) != size * len(texts):
            raise DataApiError(
                "EMBEDDING_PROVIDER_UNEXPECTED_RESPONSE",
                provider=vector.service.provider,
                problem=f"{len(texts)} vectors of dimension {vector.dimension} were expected, "
                f"{len(response.vectors)} bytes came",
            )
        vectors: list[bytes | DataApiError] = [
            response.vectors[at : at + size] for at in range(0, len(response.vectors), size)
        ]
        for failure in response.failures:
            vectors[failure.index] = _error(failure.error)
        return TextVectors(vectors, [_error(warning) for warning in response.warnings])

    async def check(self, database: str, service: ServiceOptions, dimension: int) -> embedder_pb2.Service:
        """Return a service as a collection may be created with it; `dimension` 0 asks for the model's.

        Raises the embedder's reason when it may not.
        """
        request = embedder_pb2.CheckServiceRequest(database=database, service=service_message(service, dimension))
        response = await self.remote.call(self.rpc.CheckService, request)
        return cast("embedder_pb2.Service", response.service)

    async def providers(
        self, statuses: Sequence[embedder_pb2.ModelStatus.ValueType]
    ) -> Sequence[embedder_pb2.Provider]:
        """Return the catalogue with the models of these statuses, all of them for none."""
        request = embedder_pb2.ListProvidersRequest(model_statuses=statuses)
        response = await self.remote.call(self.rpc.ListProviders, request)
        return cast("Sequence[embedder_pb2.Provider]", response.providers)


def service_message(service: ServiceOptions, dimension: int) -> embedder_pb2.Service:
    """Return a service as the embedder takes it."""
    parameters: Mapping[str, object] = service.parameters or {}
    return embedder_pb2.Service(
        provider=service.provider,
        model=service.model_name,
        dimension=dimension,
        authentication=service.authentication or {},
        parameters={name: _parameter(cast("JsonValue", value)) for name, value in parameters.items()},
    )


def _error(notice: embedder_pb2.Notice) -> DataApiError:
    details: dict[str, object] = dict(notice.details)
    return DataApiError(notice.code, document_ids=(), **details)


def _parameter(value: JsonValue) -> embedder_pb2.ParameterValue:
    if isinstance(value, bool):
        return embedder_pb2.ParameterValue(flag=value)
    if isinstance(value, str):
        return embedder_pb2.ParameterValue(text=value)
    if isinstance(value, int | Decimal | float):
        return embedder_pb2.ParameterValue(number=float(value))
    return embedder_pb2.ParameterValue(other=encode(value).decode())
