"""The RPCs of embedding: messages in, typed calls, messages out."""

import time
from typing import Any

import grpc
import structlog
from orrery.embedder.v1 import embedder_pb2 as pb
from orrery.embedder.v1 import embedder_pb2_grpc

from services.embedder.catalogue import Catalogue
from services.embedder.check import OtherValue, Service, check_service
from services.embedder.credentials import CredentialStore
from services.embedder.engine import EmbedCall, EmbeddingEngine
from services.embedder.entries import DIMENSION_PARAMETER, DimensionRange, Model, Parameter, Provider, Purpose
from services.embedder.secret import Secret

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

#: How long a call may take whose caller set no deadline, in seconds.
_NO_DEADLINE_SECONDS = 60.0
#: Share of the caller's time that is kept for the answer, so that a provider that is late can be named.
_ANSWER_SHARE = 0.05

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

    def __init__(self, catalogue: Catalogue, credentials: CredentialStore, engine: EmbeddingEngine) -> None:
        self._catalogue = catalogue
        self._credentials = credentials
        self._engine = engine

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:  # noqa: N802
        """Embed texts."""
        started = time.monotonic()
        remaining = context.time_remaining()
        call = EmbedCall(
            database=request.database,
            service=_service(request.service),
            texts=list(request.texts),
            deadline=started + (_NO_DEADLINE_SECONDS if remaining is None else remaining * (1 - _ANSWER_SHARE)),
            request_keys=_request_keys(request.request_secrets),
            purpose=_PURPOSES.get(request.input_type, "document"),
        )
        answer = await self._engine.embed(call)
        log.info(
            "embedded",
            provider=request.service.provider,
            model=request.service.model,
            database=request.database,
            texts=len(call.texts),
            tokens=answer.total_tokens,
            milliseconds=round((time.monotonic() - started) * 1000, 1),
        )
        return pb.EmbedResponse(
            vectors=answer.vectors.astype("<f4").tobytes(),
            dimension=answer.vectors.shape[1],
            usage=pb.Usage(prompt_tokens=answer.prompt_tokens, total_tokens=answer.total_tokens),
        )

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
