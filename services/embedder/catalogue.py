"""The catalogue of providers and models: `providers.yaml`, typed and checked."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Literal

import msgspec

from services.runtime.errors import ConfigurationError

WireName = Literal["huggingface", "openai", "local"]
Status = Literal["SUPPORTED", "DEPRECATED", "END_OF_LIFE"]
ParameterType = Literal["string", "number", "boolean"]
Positive = Annotated[int, msgspec.Meta(gt=0)]

#: Name of the parameter that stands for a free dimension in listings. It is never passed to a provider.
DIMENSION_PARAMETER = "vectorDimension"


class CatalogueError(ConfigurationError):
    """The catalogue is not valid; the message says where and why."""


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter of a provider or a model; `default` is text whatever the type."""

    name: str
    type: ParameterType
    help: str
    required: bool = False
    default: str | None = None
    display_name: str | None = None
    hint: str | None = None


class DimensionRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A free dimension: inclusive bounds, and what is taken where none is asked for."""

    minimum: Positive
    maximum: Positive
    default: Positive | None = None


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model. Its dimension is fixed (`dimension`) or free (`dimension_range`)."""

    name: str
    dimension: Positive | None = None
    dimension_range: DimensionRange | None = None
    parameters: tuple[Parameter, ...] = ()
    status: Status = "SUPPORTED"
    status_message: str | None = None

    def __post_init__(self) -> None:
        if (self.dimension is None) == (self.dimension_range is None):
            raise ValueError(f"model {self.name!r} needs either `dimension` or `dimension_range`")


class Authentication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which ways to authenticate are enabled, and the names of the key on its way.

    `accepted_header` brings it with a request, `accepted_token` names it in a collection's `authentication`, and
    `forwarded` is the header in which the provider gets it, as a bearer token.
    """

    none: bool = False
    header: bool = False
    shared_secret: bool = False
    accepted_header: str = "x-embedding-api-key"
    accepted_token: str = "providerKey"  # noqa: S105 - the name of a token, not a token
    forwarded: str = "Authorization"


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider. `{modelId}` in its URL stands for the model; `error_path` leads to an error body's message.

    `max_batch_size` is in texts a request; `first_back_off_seconds` is the pause before the first retry.
    """

    id: str
    display_name: str
    wire: WireName
    models: tuple[Model, ...]
    authentication: Authentication
    url: str | None = None
    max_batch_size: Positive = 32
    parameters: tuple[Parameter, ...] = ()
    error_path: tuple[str, ...] = ("error",)
    first_back_off_seconds: float = 0.1
    enabled: bool = True

    def model(self, name: str) -> Model | None:
        """Return a model by name, None when there is none of it."""
        return next((model for model in self.models if model.name == name), None)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    providers: tuple[Provider, ...]


class Catalogue:
    """The enabled providers, by id."""

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        self._providers = {provider.id: provider for provider in providers if provider.enabled}
        if len({provider.id for provider in providers}) != len(providers):
            raise CatalogueError("the catalogue has two providers of the same id")
        for provider in providers:
            if provider.url is None and provider.wire != "local":
                raise CatalogueError(f"provider {provider.id!r} needs a url")
            names = [model.name for model in provider.models]
            if len(set(names)) != len(names):
                raise CatalogueError(f"provider {provider.id!r} has two models of the same name")

    def get(self, provider_id: str) -> Provider | None:
        """Return an enabled provider, None when there is none of that id."""
        return self._providers.get(provider_id)

    def all(self) -> list[Provider]:
        """Return the enabled providers in the order of the catalogue."""
        return list(self._providers.values())


def load_catalogue(urls: Mapping[str, str], text: bytes | None = None) -> Catalogue:
    """Return the catalogue; `urls` replaces providers' URLs by the provider's id in upper case.

    `text` is the YAML to read, by default the file beside this module. Raises `CatalogueError` for a file that is
    not valid and for a URL of a provider that is not there.
    """
    source = files("services.embedder").joinpath("providers.yaml").read_bytes() if text is None else text
    try:
        parsed = msgspec.yaml.decode(source, type=_File)
    except (msgspec.DecodeError, ValueError) as error:
        raise CatalogueError(f"providers.yaml is not valid: {error}") from error
    known = {provider.id.upper() for provider in parsed.providers}
    unknown = sorted(set(urls) - known)
    if unknown:
        raise CatalogueError(
            f"ORRERY_PROVIDER_{unknown[0]}_URL names no provider; providers are {', '.join(sorted(known))}"
        )
    return Catalogue(
        tuple(
            msgspec.structs.replace(provider, url=urls.get(provider.id.upper(), provider.url))
            for provider in parsed.providers
        )
    )
