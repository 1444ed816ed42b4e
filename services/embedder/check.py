"""Whether a collection may be created with a service: the Data API's checks, in its order."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.embedder.catalogue import DIMENSION_PARAMETER, Catalogue, Model, Parameter, Provider
from services.embedder.credentials import CredentialStore
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
        known = ", ".join(item.id for item in catalogue.all())
        raise _invalid(f"the provider '{service.provider}' is not known here; known are {known}")
    authentication = _authentication(service, provider, database, credentials)
    if not service.model:
        raise _invalid(f"`modelName` is required in `vector.service` for provider '{provider.id}'")
    model = provider.model(service.model)
    if model is None:
        raise _invalid(f"the model '{service.model}' is not one of provider '{provider.id}'")
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
        if not ways.shared_secret or token != ways.accepted_token:
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
    bounds = model.dimension_range
    assert bounds is not None
    if given == 0:
        if bounds.default is None:
            raise _invalid(f"`vector.dimension` is required for model '{model.name}'")
        return bounds.default
    if not bounds.minimum <= given <= bounds.maximum:
        raise _invalid(f"the dimension {given} of model '{model.name}' is not in [{bounds.minimum}, {bounds.maximum}]")
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
    expected: dict[str, Parameter] = {item.name: item for item in (*provider.parameters, *model.parameters)}
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


def _invalid(reason: str) -> DataApiError:
    return DataApiError("INVALID_CREATE_COLLECTION_OPTIONS", reason=reason)
