"""Whether a collection may be created with a service: the Data API's checks, in its order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.embedder.address import address
from services.embedder.catalogue import Catalogue
from services.embedder.credentials import CredentialStore
from services.embedder.entries import (
    ASYMMETRIC_PARAMETER,
    COMMON_PARAMETERS,
    DIMENSION_PARAMETER,
    IN_PROCESS,
    ON_TOO_LONG_CHOICES,
    ON_TOO_LONG_PARAMETER,
    Model,
    Parameter,
    Provider,
)
from services.runtime.errors import DataApiError

#: A parameter's value: JSON string, number or boolean; other JSON values come as their text in `OtherValue`.
_TYPE_NAMES = {str: "string", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class OtherValue:
    """A parameter's value of a JSON type that no parameter has."""

    text: str


@dataclass(frozen=True, slots=True)
class Service:
    """How a collection embeds. `dimension` 0 asks for the model's; `authentication` maps token to credential."""

    provider: str
    model: str = ""
    dimension: int = 0
    authentication: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, "str | float | bool | OtherValue"] = field(default_factory=dict)


def check_service(service: Service, database: str, catalogue: Catalogue, credentials: CredentialStore) -> Service:
    """Return the service with dimension and credential names filled in.

    Raises `INVALID_CREATE_COLLECTION_OPTIONS`, `VECTORIZE_CREDENTIAL_INVALID`, `DEPRECATED_AI_MODEL` or
    `END_OF_LIFE_AI_MODEL`.
    """
    provider = catalogue.get(service.provider)
    if provider is None:
        raise _invalid(f"the provider '{service.provider}' cannot be used: {catalogue.why_not(service.provider)}")
    authentication = _authentication(service, provider, database, credentials)
    name = service.model or provider.default_model
    if not name:
        raise _invalid(f"`modelName` is required in `vector.service` for provider '{provider.id}'")
    model = provider.model(name)
    if model is None:
        raise _invalid(f"the model '{name}' is not one of provider '{provider.id}'")
    dimension = _dimension(service.dimension, model)
    _status(model)
    _parameters(service, provider, model)
    return Service(provider.id, model.name, dimension, authentication, service.parameters)


def credential_name(given: str, token: str) -> str:
    """Return a credential's name as it is stored with a collection: `<name>.<token>`."""
    name, separator, last = given.rpartition(".")
    return given if separator and last == token and name else f"{given}.{token}"


def _authentication(
    service: Service, provider: Provider, database: str, credentials: CredentialStore
) -> dict[str, str]:
    ways = provider.authentication
    if not service.authentication:
        if not ways.none and not ways.header:
            raise _invalid(
                f"`authentication` is required for provider '{provider.id}': it takes neither NONE nor HEADER"
            )
        return {}
    for token in service.authentication:
        if not ways.shared_secret or token not in {item.accepted_token for item in ways.tokens}:
            raise _invalid(f"the authentication '{token}' is not one that provider '{provider.id}' takes")
    normalised = {token: credential_name(name, token) for token, name in service.authentication.items()}
    for token, name in normalised.items():
        credentials.check(provider.id, name.removesuffix(f".{token}"), token, database)
    return normalised


def _dimension(given: int, model: Model) -> int:
    if model.dimension is not None:
        if given not in (0, model.dimension):
            raise _invalid(f"the dimension {given} is not that of model '{model.name}', which is {model.dimension}")
        return model.dimension
    choice = model.dimensions
    assert choice is not None
    if given == 0:
        if choice.default is None:
            raise _invalid(f"`vector.dimension` is required for model '{model.name}'")
        return choice.default
    if not choice.allows(given):
        raise _invalid(f"the dimension {given} of model '{model.name}' is not in {choice}")
    return given


def _status(model: Model) -> None:
    if model.status != "SUPPORTED":
        raise DataApiError(
            f"{model.status}_AI_MODEL",
            model=model.name,
            modelStatus=model.status,
            explanation=model.status_message or "no reason is given",
        )


def _parameters(service: Service, provider: Provider, model: Model) -> None:
    own = (*provider.parameters, *model.all_parameters)
    expected: dict[str, Parameter] = {item.name: item for item in (*COMMON_PARAMETERS, *own)}
    expected.pop(DIMENSION_PARAMETER, None)
    for name in service.parameters:
        if name not in expected:
            raise _invalid(f"the parameter '{name}' is not one of provider '{provider.id}' and its model")
    for name, parameter in expected.items():
        if parameter.required and name not in service.parameters:
            raise _invalid(f"the parameter '{name}' is required for provider '{provider.id}'")
    for name, value in service.parameters.items():
        wanted = expected[name].type
        if _TYPE_NAMES.get(type(value)) != wanted:
            raise _invalid(f"the parameter '{name}' must be of type {wanted}")
    _values(service, provider, model, expected)


def _values(service: Service, provider: Provider, model: Model, expected: Mapping[str, Parameter]) -> None:
    """Refuse values that cannot work; the reference does not look at values."""
    for name, value in service.parameters.items():
        bounds, options = expected[name].numeric_range, expected[name].options
        if isinstance(value, float) and bounds is not None and not bounds[0] <= value <= bounds[1]:
            raise _invalid(f"the parameter '{name}' must be in [{bounds[0]}, {bounds[1]}]")
        if isinstance(value, float) and options and value not in options:
            raise _invalid(f"the parameter '{name}' must be one of {', '.join(map(str, options))}")
    if model.tasks is not None and service.parameters.get(ASYMMETRIC_PARAMETER) is True:
        member = model.tasks.member
        if member in service.parameters:
            raise _invalid(
                f"the parameters '{ASYMMETRIC_PARAMETER}' and '{member}' exclude each other; give one of them"
            )
    if service.parameters.get(ON_TOO_LONG_PARAMETER, "error") not in ON_TOO_LONG_CHOICES:
        raise _invalid(f"the parameter '{ON_TOO_LONG_PARAMETER}' must be one of {', '.join(ON_TOO_LONG_CHOICES)}")
    if provider.wire not in IN_PROCESS:
        try:
            address(provider, model, service.parameters)
        except ValueError as problem:
            raise _invalid(str(problem)) from None


def _invalid(reason: str) -> DataApiError:
    return DataApiError("INVALID_CREATE_COLLECTION_OPTIONS", reason=reason)
