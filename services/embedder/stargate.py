"""The reference Data API's embedding-gateway interface, answered by this embedder.

Package `stargate` is a foreign contract: `protos/stargate/embedding_gateway.proto` says what each RPC and field is.
Its clients take an error from the response and know no details of a gRPC status, so every failure is answered there.
"""

import asyncio
import time
from typing import Any

import grpc
import numpy as np
import structlog
from stargate import embedding_gateway_pb2 as pb
from stargate import embedding_gateway_pb2_grpc

from services.embedder.calls import EmbedCall, Embedded
from services.embedder.catalogue import Catalogue
from services.embedder.check import OtherValue, Service
from services.embedder.credentials import CredentialStore
from services.embedder.deadline import deadline_of
from services.embedder.engine import EmbeddingEngine
from services.embedder.entries import (
    DIMENSION_PARAMETER,
    DimensionOptions,
    DimensionRange,
    Model,
    Parameter,
    Provider,
    Purpose,
)
from services.embedder.secret import Secret
from services.embedder.settings import RequestSettings
from services.runtime.errors import DataApiError
from services.runtime.rpc import unexpected_error

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
EmbeddingRequest = pb.ProviderEmbedRequest.EmbeddingRequest
ProviderConfig = pb.GetSupportedProvidersResponse.ProviderConfig
ParameterConfig = ProviderConfig.ParameterConfig

#: What `auth_tokens` calls the secrets of a request, by the headers they came in. The reference's Data API writes the
#: first form; the second is what others would: the header's own name, in any case.
_KEYS_OF_REQUESTS = {
    "embedding-api-key": "x-embedding-api-key",
    "embedding-access-id": "x-embedding-access-id",
    "embedding-secret-id": "x-embedding-secret-id",
}
#: The Data API's own token. It opens that API and no provider, so it goes no further.
_DATA_API_TOKEN = "data-api-token"  # noqa: S105 - the name of a token, not a token

_PURPOSES: dict[int, Purpose] = {EmbeddingRequest.INDEX: "document", EmbeddingRequest.SEARCH: "query"}
_USAGE_INPUT_TYPES = {EmbeddingRequest.INDEX: pb.ModelUsage.INDEX, EmbeddingRequest.SEARCH: pb.ModelUsage.SEARCH}
_PARAMETER_TYPES = {
    "string": ParameterConfig.STRING,
    "number": ParameterConfig.NUMBER,
    "boolean": ParameterConfig.BOOLEAN,
}
_MAX_INT32 = 2**31 - 1


class StargateServicer(embedding_gateway_pb2_grpc.EmbeddingServiceServicer):
    """`stargate.EmbeddingService`. Its tenants are this embedder's databases."""

    def __init__(
        self,
        catalogue: Catalogue,
        credentials: CredentialStore,
        engine: EmbeddingEngine,
        upstream: RequestSettings,
    ) -> None:
        self._catalogue = catalogue
        self._credentials = credentials
        self._engine = engine
        self._upstream = upstream

    async def Embed(  # noqa: N802
        self, request: pb.ProviderEmbedRequest, context: Context
    ) -> pb.EmbeddingResponse:
        """Embed texts."""
        started = time.monotonic_ns()
        provider, wanted = request.provider_context, request.embedding_request
        about = {"provider": provider.provider_name, "model": wanted.model_name, "database": provider.tenant_id}
        try:
            answer = await self._engine.embed(_call(request, deadline_of(context)))
            response = pb.EmbeddingResponse(
                modelUsage=_usage(request, answer, time.monotonic_ns() - started),
                embeddings=(
                    pb.EmbeddingResponse.FloatEmbedding(index=index, embedding=vector)
                    for index, vector in enumerate(answer.vectors.tolist())
                ),
            )
        except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
            error = _error("Embed", problem)
            log.warning("not embedded", through="stargate", code=error.code, **about)
            return pb.EmbeddingResponse(error=pb.EmbeddingResponse.ErrorResponse(**error_members(error)))
        log.info(
            "embedded",
            through="stargate",
            **about,
            command=wanted.command_name,
            texts=len(wanted.inputs),
            tokens=answer.total_tokens,
            milliseconds=round((time.monotonic_ns() - started) / 1e6, 1),
        )
        return response

    async def GetSupportedProviders(  # noqa: N802
        self, request: pb.GetSupportedProvidersRequest, context: Context
    ) -> pb.GetSupportedProvidersResponse:
        """List the catalogue, models of every status included: the Data API's listing filters them."""
        try:
            return pb.GetSupportedProvidersResponse(
                supportedProviders={
                    provider.id: _provider_message(provider, self._upstream) for provider in self._catalogue.all()
                }
            )
        except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
            members = error_members(_error("GetSupportedProviders", problem))
            return pb.GetSupportedProvidersResponse(error=pb.GetSupportedProvidersResponse.ErrorResponse(**members))

    async def ValidateCredential(  # noqa: N802
        self, request: pb.ValidateCredentialRequest, context: Context
    ) -> pb.ValidateCredentialResponse:
        """Tell whether a tenant may use a credential."""
        try:
            await asyncio.to_thread(self._check, request)
        except Exception as problem:  # noqa: BLE001 - the last resort, logged and answered
            members = error_members(_error("ValidateCredential", problem))
            # Always with an error: the reference's Data API does not look at `validity`.
            return pb.ValidateCredentialResponse(validity=False, error=pb.ValidateCredentialResponse.Error(**members))
        return pb.ValidateCredentialResponse(validity=True)

    def _check(self, request: pb.ValidateCredentialRequest) -> None:
        """Refuse a credential that cannot be used. Raises `VECTORIZE_CREDENTIAL_INVALID`."""
        # No name has a period in it, so what is behind the first one is the name of the secret.
        name, _, token = request.credential.partition(".")
        provider = self._catalogue.get(request.provider_name)
        known: list[str] = []
        if provider is not None and provider.authentication.shared_secret:
            known = [item.accepted_token for item in provider.authentication.tokens]
        if provider is None:
            problem, remedy = self._catalogue.why_not(request.provider_name), "Choose a provider that can be used"
        elif not known:
            problem, remedy = "the provider takes no stored keys", "Leave `authentication` out"
        elif token and token not in known:
            problem, remedy = f"the provider takes no secret '{token}'", f"Name {' or '.join(known)}"
        else:
            for item in [token] if token else known:
                self._credentials.check(provider.id, name, item, request.tenant_id)
            return
        raise DataApiError(
            "VECTORIZE_CREDENTIAL_INVALID",
            provider=request.provider_name,
            name=name,
            database=request.tenant_id,
            problem=problem,
            remedy=f"{remedy}.",
        )


def _error(method: str, problem: Exception) -> DataApiError:
    """Return what a caller is told of a failure; one that nobody foresaw is logged."""
    return problem if isinstance(problem, DataApiError) else unexpected_error(f"stargate.{method}", problem)


# --- messages ---------------------------------------------------------------


def error_members(error: DataApiError) -> dict[str, str]:
    """Return the members of an error, of which the interface has three messages alike."""
    return {"error_code": error.code, "error_title": error.definition.title, "error_body": error.message}


def _call(request: pb.ProviderEmbedRequest, deadline: float) -> EmbedCall:
    """Return the call that a request asks for. Raises `EMBEDDING_REQUEST_ENCODING_ERROR` for a negative dimension."""
    provider, wanted = request.provider_context, request.embedding_request
    if wanted.dimensions < 0:
        raise DataApiError(
            "EMBEDDING_REQUEST_ENCODING_ERROR",
            provider=provider.provider_name,
            model=wanted.model_name,
            problem=f"vectors of dimension {wanted.dimensions} were asked for",
        )
    keys: dict[str, Secret] = {}
    names: dict[str, str] = {}
    for name, value in provider.auth_tokens.items():
        plain = name.lower().replace("_", "-").removeprefix("x-")
        if plain in _KEYS_OF_REQUESTS:
            if value:
                keys[_KEYS_OF_REQUESTS[plain]] = Secret(value)
        elif plain != _DATA_API_TOKEN:
            names[name] = value
    return EmbedCall(
        database=provider.tenant_id,
        service=Service(
            provider.provider_name,
            wanted.model_name,
            wanted.dimensions,
            names,
            {name: _parameter(value) for name, value in wanted.parameters.items()},
        ),
        texts=list(wanted.inputs),
        deadline=deadline,
        request_keys=keys,
        purpose=_PURPOSES.get(wanted.input_type, "document"),
    )


def _parameter(value: EmbeddingRequest.ParameterValue) -> str | float | bool | OtherValue:
    """Return a parameter's value as the engine takes it; numbers are float there."""
    kind = value.WhichOneof("ParameterValueOneOf")
    if kind == "str_value":
        return value.str_value
    if kind == "int_value":
        return float(value.int_value)
    if kind == "float_value":
        # The shortest decimal that is this float32: 0.1 arrives as 0.100000001..., and 0.1 is what was meant.
        return float(str(np.float32(value.float_value)))
    if kind == "bool_value":
        return value.bool_value
    return OtherValue("null")


def _usage(request: pb.ProviderEmbedRequest, answer: Embedded, nanoseconds: int) -> pb.ModelUsage:
    """Return what a call cost. Its sizes are those of texts and vectors, because no other are known here."""
    provider, wanted = request.provider_context, request.embedding_request
    return pb.ModelUsage(
        model_provider=provider.provider_name,
        model_type=pb.ModelUsage.EMBEDDING,
        model_name=wanted.model_name,
        tenant_id=provider.tenant_id,
        input_type=_USAGE_INPUT_TYPES.get(wanted.input_type, pb.ModelUsage.INPUT_TYPE_UNSPECIFIED),
        # Providers count tokens as they like; a number that does not fit must not cost the vectors.
        prompt_tokens=min(answer.prompt_tokens, _MAX_INT32),
        total_tokens=min(answer.total_tokens, _MAX_INT32),
        request_bytes=min(sum(len(text.encode()) for text in wanted.inputs), _MAX_INT32),
        response_bytes=min(answer.vectors.size * 4, _MAX_INT32),
        call_duration_nanos=nanoseconds,
    )


def _provider_message(provider: Provider, upstream: RequestSettings) -> ProviderConfig:
    types, first = provider.input_types, provider.first_back_off_seconds
    return ProviderConfig(
        displayName=provider.display_name,
        enabled=provider.enabled,
        url=provider.shown_url,
        supported_authentications=_authentication_messages(provider),
        parameters=map(_parameter_message, provider.parameters),
        properties=ProviderConfig.RequestProperties(
            at_most_retries=upstream.attempts - 1,
            initial_back_off_millis=_milliseconds(first),
            read_timeout_millis=_milliseconds(provider.read_seconds or upstream.read_seconds),
            max_back_off_millis=_milliseconds(max(upstream.last_back_off_seconds, first)),
            jitter=upstream.jitter,
            task_type_store="" if types is None else types.document,
            task_type_read="" if types is None else types.query,
            max_batch_size=provider.max_batch_size,
        ),
        models=[_model_message(model) for model in provider.models],
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _authentication_messages(provider: Provider) -> dict[str, ProviderConfig.AuthenticationConfig]:
    ways = provider.authentication
    message = ProviderConfig.AuthenticationConfig
    by_header = [message.TokenConfig(accepted=item.accepted_header, forwarded=item.forwarded) for item in ways.tokens]
    by_name = [message.TokenConfig(accepted=item.accepted_token, forwarded=item.forwarded) for item in ways.tokens]
    listed: dict[str, tuple[bool | None, list[ProviderConfig.AuthenticationConfig.TokenConfig]]] = {
        "NONE": (ways.none, []),
        "HEADER": (ways.header, by_header),
        "SHARED_SECRET": (ways.shared_secret, by_name),
    }
    return {
        way: message(enabled=enabled, tokens=tokens) for way, (enabled, tokens) in listed.items() if enabled is not None
    }


def _model_message(model: Model) -> ProviderConfig.ModelConfig:
    parameters = [*_dimension_parameter(model), *model.all_parameters]
    return ProviderConfig.ModelConfig(
        name=model.name,
        vector_dimension=model.dimension,
        parameters=map(_parameter_message, parameters),
        apiModelSupport=pb.ApiModelSupport(status=model.status, message=model.status_message),
    )


def _dimension_parameter(model: Model) -> list[Parameter]:
    """Return the parameter that stands for a free dimension, nothing where the dimension is fixed."""
    choice = model.dimensions
    if choice is None:
        return []
    return [
        Parameter(
            name=DIMENSION_PARAMETER,
            type="number",
            help="Length of the vectors.",
            required=choice.required,
            default=None if choice.default is None else str(choice.default),
            numeric_range=(choice.minimum, choice.maximum) if isinstance(choice, DimensionRange) else None,
            options=choice.values if isinstance(choice, DimensionOptions) else (),
        )
    ]


def _parameter_message(parameter: Parameter) -> ParameterConfig:
    validation: dict[str, ParameterConfig.IntList] = {}
    if parameter.numeric_range is not None:
        validation["numericRange"] = ParameterConfig.IntList(values=parameter.numeric_range)
    if parameter.options:
        validation["options"] = ParameterConfig.IntList(values=parameter.options)
    return ParameterConfig(
        name=parameter.name,
        type=_PARAMETER_TYPES[parameter.type],
        required=parameter.required,
        default_value=parameter.default or "",
        validation=validation,
        help=parameter.help,
        display_name=parameter.display_name or "",
        hint=parameter.hint or "",
    )
