"""The RPCs of embedding: messages in, typed calls, messages out."""

import asyncio
import datetime
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog
from orrery.embedder.v1 import embedder_pb2 as pb
from orrery.embedder.v1 import embedder_pb2_grpc

from services.embedder.calls import EmbedCall, Embedded
from services.embedder.catalogue import Catalogue
from services.embedder.check import OtherValue, Service, check_service
from services.embedder.credentials import CredentialStore
from services.embedder.deadline import deadline_of
from services.embedder.engine import EmbeddingEngine
from services.embedder.entries import DIMENSION_PARAMETER, DimensionRange, Model, Parameter, Provider, Purpose
from services.embedder.secret import Secret
from services.embedder.usage import UsageBook, UsageRow
from services.runtime.errors import DataApiError

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

#: How long a bulk job may take whose caller set no deadline, in seconds.
_NO_BULK_DEADLINE_SECONDS = 3600.0

_STATUSES = {
    "SUPPORTED": pb.MODEL_STATUS_SUPPORTED,
    "DEPRECATED": pb.MODEL_STATUS_DEPRECATED,
    "END_OF_LIFE": pb.MODEL_STATUS_END_OF_LIFE,
}
_PURPOSES: dict[int, Purpose] = {
    pb.INPUT_TYPE_UNSPECIFIED: "document",
    pb.INPUT_TYPE_INDEX: "document",
    pb.INPUT_TYPE_SEARCH: "query",
}
_PARAMETER_TYPES = {
    "string": pb.PARAMETER_TYPE_STRING,
    "number": pb.PARAMETER_TYPE_NUMBER,
    "boolean": pb.PARAMETER_TYPE_BOOLEAN,
}


class EmbedderServicer(embedder_pb2_grpc.EmbedderServiceServicer):
    """`orrery.embedder.v1.EmbedderService`. Each RPC is described in the contract."""

    def __init__(
        self, catalogue: Catalogue, credentials: CredentialStore, engine: EmbeddingEngine, usage: UsageBook
    ) -> None:
        self._catalogue = catalogue
        self._credentials = credentials
        self._engine = engine
        self._usage = usage

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802
        """Embed texts."""
        started = time.monotonic()
        embedded = await self._engine.embed(_call(request, deadline_of(context)))
        _log_embedded(request, embedded.total_tokens, embedded.cached, time.monotonic() - started)
        return _embed_response(request.service, embedded)

    async def EmbedStream(  # noqa: N802
        self, request: pb.EmbedStreamRequest, context: Context
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Embed the texts of a bulk job."""
        started, tokens, cached = time.monotonic(), 0, 0
        call = _call(request.embed, deadline_of(context, _NO_BULK_DEADLINE_SECONDS))
        async for first, embedded in self._engine.stream(call):
            tokens, cached = tokens + embedded.total_tokens, cached + embedded.cached
            yield pb.EmbedStreamResponse(first_index=first, embedded=_embed_response(request.embed.service, embedded))
        _log_embedded(request.embed, tokens, cached, time.monotonic() - started)

    async def ListUsage(self, request: pb.ListUsageRequest, context: Context) -> pb.ListUsageResponse:  # noqa: N802
        """List what was used."""
        since = request.first_day or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-01")
        rows = await asyncio.to_thread(self._usage.rows, since)
        return pb.ListUsageResponse(records=map(_usage_message, rows))

    async def ListProviders(  # noqa: N802
        self, request: pb.ListProvidersRequest, context: Context
    ) -> pb.ListProvidersResponse:
        """List the catalogue."""
        wanted = set(request.model_statuses)
        return pb.ListProvidersResponse(
            providers=[_provider_message(provider, wanted) for provider in self._catalogue.all()]
        )

    async def CheckService(  # noqa: N802
        self, request: pb.CheckServiceRequest, context: Context
    ) -> pb.CheckServiceResponse:
        """Tell whether a collection could be created with a service."""
        checked = check_service(_service(request.service), request.database, self._catalogue, self._credentials)
        message = pb.Service()
        message.CopyFrom(request.service)
        message.provider, message.model, message.dimension = checked.provider, checked.model, checked.dimension
        message.authentication.update(checked.authentication)
        return pb.CheckServiceResponse(service=message)


# --- messages ---------------------------------------------------------------


def _call(request: pb.EmbedRequest, deadline: float) -> EmbedCall:
    return EmbedCall(
        database=request.database,
        service=_service(request.service),
        texts=list(request.texts),
        deadline=deadline,
        request_keys=_request_keys(request.request_secrets),
        purpose=_PURPOSES.get(request.input_type, "document"),
        partial=request.partial,
        cache=not request.skip_cache,
    )


def _embed_response(service: pb.Service, embedded: Embedded) -> pb.EmbedResponse:
    warnings = [DataApiError("EMBEDDING_BUDGET_NEARLY_SPENT", state=state) for state in embedded.warnings]
    for cut in sorted(embedded.cuts, key=lambda cut: cut.index):
        warnings.append(
            DataApiError(
                "EMBEDDING_TEXT_TRUNCATED",
                model=service.model,
                position=cut.index + 1,
                count=len(embedded.vectors),
                characters=cut.characters,
            )
        )
    return pb.EmbedResponse(
        vectors=embedded.vectors.astype("<f4", copy=False).tobytes(),
        dimension=embedded.vectors.shape[1],
        usage=pb.Usage(prompt_tokens=embedded.prompt_tokens, total_tokens=embedded.total_tokens),
        failures=[
            pb.TextFailure(index=index, error=_notice(error)) for index, error in sorted(embedded.failures.items())
        ],
        warnings=map(_notice, warnings),
        cached_texts=embedded.cached,
    )


def _notice(error: DataApiError) -> pb.Notice:
    return pb.Notice(code=error.code, details=error.details)


def _usage_message(row: UsageRow) -> pb.UsageRecord:
    who, used = row.spender, row.used
    return pb.UsageRecord(
        day=row.day,
        provider=who.provider,
        key=who.key,
        database=who.database,
        model=who.model,
        calls=used.calls,
        texts=used.texts,
        cached_texts=used.cached,
        tokens=used.tokens,
        saved_tokens=used.saved,
        cost=used.money,
    )


def _log_embedded(request: pb.EmbedRequest, tokens: int, cached: int, seconds: float) -> None:
    log.info(
        "embedded",
        provider=request.service.provider,
        model=request.service.model,
        database=request.database,
        texts=len(request.texts),
        cached=cached,
        tokens=tokens,
        milliseconds=round(seconds * 1000, 1),
    )


def _request_keys(secrets: pb.RequestSecrets) -> dict[str, Secret]:
    headers = {
        "x-embedding-api-key": secrets.api_key,
        "x-embedding-access-id": secrets.access_id,
        "x-embedding-secret-id": secrets.secret_id,
    }
    return {header: Secret(text) for header, text in headers.items() if text}


def _service(message: pb.Service) -> Service:
    parameters: dict[str, str | float | bool | OtherValue] = {}
    for name, value in message.parameters.items():
        kind = value.WhichOneof("kind")
        if kind == "text":
            parameters[name] = value.text
        elif kind == "number":
            parameters[name] = value.number
        elif kind == "flag":
            parameters[name] = value.flag
        else:
            parameters[name] = OtherValue(value.other)
    return Service(message.provider, message.model, message.dimension, dict(message.authentication), parameters)


def _provider_message(provider: Provider, wanted: set[pb.ModelStatus.ValueType]) -> pb.Provider:
    models = [model for model in provider.models if not wanted or _STATUSES[model.status] in wanted]
    return pb.Provider(
        id=provider.id,
        display_name=provider.display_name,
        url=provider.shown_url or "",
        authentications=_authentication_messages(provider),
        parameters=map(_parameter_message, provider.parameters),
        models=[_model_message(model) for model in sorted(models, key=lambda model: model.name)],
    )


def _authentication_messages(provider: Provider) -> list[pb.Authentication]:
    ways = provider.authentication
    by_header = [pb.Token(accepted=token.accepted_header, forwarded=token.forwarded) for token in ways.tokens]
    by_name = [pb.Token(accepted=token.accepted_token, forwarded=token.forwarded) for token in ways.tokens]
    listed: list[tuple[pb.AuthenticationType.ValueType, bool | None, list[pb.Token]]] = [
        (pb.AUTHENTICATION_TYPE_HEADER, ways.header, by_header),
        (pb.AUTHENTICATION_TYPE_SHARED_SECRET, ways.shared_secret, by_name),
        (pb.AUTHENTICATION_TYPE_NONE, ways.none, []),
    ]
    return [
        pb.Authentication(type=way, enabled=enabled, tokens=tokens)
        for way, enabled, tokens in listed
        if enabled is not None
    ]


def _model_message(model: Model) -> pb.Model:
    parameters = [_parameter_message(parameter) for parameter in model.all_parameters]
    choice = model.dimensions
    if choice is not None:
        message = pb.Parameter(
            name=DIMENSION_PARAMETER,
            type=pb.PARAMETER_TYPE_NUMBER,
            required=choice.required,
            default_value=None if choice.default is None else str(choice.default),
            help="Length of the vectors.",
        )
        if isinstance(choice, DimensionRange):
            message.numeric_range.minimum, message.numeric_range.maximum = choice.minimum, choice.maximum
        else:
            message.options.extend(choice.values)
        parameters.insert(0, message)
    return pb.Model(
        name=model.name,
        dimension=model.dimension,
        parameters=parameters,
        status=_STATUSES[model.status],
        status_message=model.status_message,
    )


def _parameter_message(parameter: Parameter) -> pb.Parameter:
    message = pb.Parameter(
        name=parameter.name,
        type=_PARAMETER_TYPES[parameter.type],
        required=parameter.required,
        default_value=parameter.default,
        help=parameter.help,
        display_name=parameter.display_name,
        hint=parameter.hint,
        options=parameter.options,
    )
    if parameter.numeric_range is not None:
        message.numeric_range.minimum, message.numeric_range.maximum = parameter.numeric_range
    return message
