"""What the catalogue of providers and models says: `providers.yaml` and the operator's own file, typed and checked.

Every class is one object of those files; members that are not named here are refused.
"""

import re
from typing import Annotated, Any, Literal

import msgspec

from services.runtime.errors import ConfigurationError

WireName = Literal["huggingface", "openai", "cohere", "bedrock", "vertexai", "ollama", "tei", "local", "deterministic"]
#: Wires that are computed in this process: they have no URL and take no key.
IN_PROCESS: frozenset[WireName] = frozenset({"local", "deterministic"})

Status = Literal["SUPPORTED", "DEPRECATED", "END_OF_LIFE"]
ParameterType = Literal["string", "number", "boolean"]
Purpose = Literal["document", "query"]
Positive = Annotated[int, msgspec.Meta(gt=0)]

#: Name of the parameter that stands for a free dimension in listings. It is never passed to a provider.
DIMENSION_PARAMETER = "vectorDimension"
#: Name of the boolean parameter of models with `prefixes` or `tasks`: whether a collection wants them.
ASYMMETRIC_PARAMETER = "asymmetric"
#: Name of the boolean parameter that, where a catalogue declares it, decides whether requests state the dimension.
SEND_DIMENSION_PARAMETER = "sendDimensions"

#: Parameters of Orrery's own, for collections of every provider: whether vectors are remembered, and what becomes of a
#: text that is too long (`error` or `truncate`). Neither is listed or sent.
CACHE_PARAMETER, ON_TOO_LONG_PARAMETER = "cache", "onTooLong"
ON_TOO_LONG_CHOICES = ("error", "truncate")

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_MODEL_PLACEHOLDER = "modelId"


class CatalogueError(ConfigurationError):
    """The catalogue is not valid; the message says where and why."""


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parameter of a provider or a model; `default` is text whatever the type.

    `place` is where a request carries it: as a member of the body or as a header, there under the name `sent_as` where
    that is not its own; in a placeholder of the URL; or nowhere. `purpose` keeps it to requests for documents or for
    queries. `numeric_range` (inclusive bounds) and `options` limit a number.
    """

    name: str
    type: ParameterType
    help: str
    required: bool = False
    default: str | None = None
    display_name: str | None = None
    hint: str | None = None
    place: Literal["body", "header", "url", "none"] = "body"
    sent_as: str | None = None
    purpose: Purpose | None = None
    numeric_range: tuple[int, int] | None = None
    options: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.place == "url" and self.type != "string":
            raise ValueError(f"parameter {self.name!r} is part of the URL and must be of type string")
        if self.type != "number" and (self.numeric_range is not None or self.options):
            raise ValueError(f"parameter {self.name!r} is no number, so it has neither `numeric_range` nor `options`")


class DimensionRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A free dimension: inclusive bounds, and what is taken where none is asked for.

    `required` is only what listings say of it: with a default it may be left out.
    """

    minimum: Positive
    maximum: Positive
    default: Positive | None = None
    required: bool = True

    def __post_init__(self) -> None:
        if self.minimum > self.maximum or not self.allows(self.default or self.minimum):
            raise ValueError("`minimum`, `default` and `maximum` of a dimension must be in that order")

    def allows(self, dimension: int) -> bool:
        """Tell whether vectors of this length can be asked for."""
        return self.minimum <= dimension <= self.maximum

    def __str__(self) -> str:
        return f"[{self.minimum}, {self.maximum}]"


class DimensionOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A dimension with a few values to choose from."""

    values: tuple[Positive, ...]
    default: Positive
    required: bool = True

    def __post_init__(self) -> None:
        if not self.allows(self.default):
            raise ValueError("`default` of a dimension must be one of its `values`")

    def allows(self, dimension: int) -> bool:
        """Tell whether vectors of this length can be asked for."""
        return dimension in self.values

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.values))}]"


class ByPurpose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is said of a document and what of a query."""

    document: str
    query: str

    def of(self, purpose: Purpose) -> str:
        """Return the one for a purpose."""
        return self.document if purpose == "document" else self.query


class MemberByPurpose(ByPurpose, frozen=True, forbid_unknown_fields=True):
    """The same, with the member of the request's body that says it."""

    member: str


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model. Its dimension is fixed (`dimension`), free (`dimension_range`) or chosen (`dimension_options`).

    `any_name` makes it stand for every name that is not listed; `sent` false keeps its name out of requests.
    `prefixes` (before each text) and `tasks` (a member of the body) tell documents from queries, for collections that
    ask for it with the parameter `asymmetric`. Limits are in texts and tokens; where one is given it goes before the
    provider's. The price is in US dollars, for accounting.
    """

    name: str
    dimension: Positive | None = None
    dimension_range: DimensionRange | None = None
    dimension_options: DimensionOptions | None = None
    parameters: tuple[Parameter, ...] = ()
    status: Status = "SUPPORTED"
    status_message: str | None = None
    any_name: bool = False
    sent: bool = True
    prefixes: ByPurpose | None = None
    tasks: MemberByPurpose | None = None
    max_batch_size: Positive | None = None
    max_tokens_per_text: Positive | None = None
    max_tokens_per_request: Positive | None = None
    price_per_million_tokens: float | None = None

    def __post_init__(self) -> None:
        if sum(item is not None for item in (self.dimension, self.dimension_range, self.dimension_options)) != 1:
            raise ValueError(f"model {self.name!r} needs one of `dimension`, `dimension_range` and `dimension_options`")

    @property
    def dimensions(self) -> DimensionRange | DimensionOptions | None:
        """The dimensions to choose from, None where it is fixed."""
        return self.dimension_range or self.dimension_options

    @property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """The model's parameters, `asymmetric` among them where it has a meaning."""
        if self.prefixes is None and self.tasks is None:
            return self.parameters
        return (*self.parameters, _ASYMMETRIC)


_ASYMMETRIC = Parameter(
    name=ASYMMETRIC_PARAMETER,
    type="boolean",
    help="Whether documents and queries are embedded differently, as the model's authors advise for search.",
    default="false",
    place="none",
)


COMMON_PARAMETERS = (
    Parameter(
        name=CACHE_PARAMETER,
        type="boolean",
        help="Whether vectors are remembered by the embedder.",
        default="true",
        place="none",
    ),
    Parameter(
        name=ON_TOO_LONG_PARAMETER,
        type="string",
        help="What becomes of a text that the model refuses for its length: error, or truncate.",
        default="error",
        place="none",
    ),
)


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One secret of a key, by its names on the way.

    `accepted_header` brings it with a request, `accepted_token` names it in a collection's `authentication`, and
    `forwarded` is the header in which the provider gets it, after the word `scheme` unless that is empty.
    """

    accepted_header: str = "x-embedding-api-key"
    accepted_token: str = "providerKey"  # noqa: S105 - the name of a token, not a token
    forwarded: str = "Authorization"
    scheme: str = "Bearer"


class Authentication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which ways to authenticate are enabled, and the secrets of a key. A way that is left out is not listed."""

    none: bool | None = None
    header: bool | None = None
    shared_secret: bool | None = None
    tokens: tuple[Token, ...] = (Token(),)


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider.

    `url` is where requests go: `{modelId}` stands for the model, other names in braces for parameters of place `url`.
    One at its very start is a base URL that callers give: `allowed_base_urls` says which ones they may, besides the
    parameter's default. Listings show `listed_url` instead where it is given, and no URL where it is empty.

    `input_types` is a member of every request, `model_suffixes` follows the model's name; both tell documents from
    queries. `body` has constant members. `dimension_member` carries the dimension of models that let it be chosen.
    `error_at` are the places of the message in an error body, names joined by dots, the first that is there wins.
    `max_batch_size` is in texts a request, `max_tokens_per_request` in tokens; `first_back_off_seconds` is the pause
    before the first retry, `read_seconds` how long a request may take where that is not what all are given.
    """

    id: str
    display_name: str
    wire: WireName
    models: tuple[Model, ...]
    authentication: Authentication
    url: str | None = None
    listed_url: str | None = None
    allowed_base_urls: tuple[str, ...] = ()
    default_model: str | None = None
    parameters: tuple[Parameter, ...] = ()
    input_types: MemberByPurpose | None = None
    model_suffixes: ByPurpose | None = None
    input_as_text: bool = False
    body: dict[str, Any] = {}
    dimension_member: str | None = None
    error_at: tuple[str, ...] = ("error",)
    max_batch_size: Positive = 32
    max_tokens_per_request: Positive | None = None
    first_back_off_seconds: float = 0.1
    read_seconds: float | None = None
    enabled: bool = True

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError(f"provider {self.id!r} has two models of the same name")
        if sum(model.any_name for model in self.models) > 1:
            raise ValueError(f"provider {self.id!r} has two models with `any_name`")
        if self.default_model is not None and self.default_model not in names:
            raise ValueError(f"provider {self.id!r} has no model {self.default_model!r}, its `default_model`")
        if self.input_as_text and self.max_batch_size != 1:
            raise ValueError(f"provider {self.id!r} has `input_as_text`, so its `max_batch_size` must be 1")
        if self.wire not in IN_PROCESS:
            self._check_url()

    def _check_url(self) -> None:
        if not self.url:
            raise ValueError(f"provider {self.id!r} needs a url")
        if self.base_url_parameter is None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"the url of provider {self.id!r} must start with http:// or https://: {self.url}")
        known = {item.name for item in self.parameters if item.place == "url"} | {_MODEL_PLACEHOLDER}
        for name in _PLACEHOLDER.findall(self.url):
            if name not in known:
                raise ValueError(
                    f"the url of provider {self.id!r} has {{{name}}}; it may have {', '.join(sorted(known))}"
                )

    def model(self, name: str) -> Model | None:
        """Return a model by name, None when there is none of it."""
        listed = next((model for model in self.models if model.name == name), None)
        if listed is not None:
            return listed
        other = next((model for model in self.models if model.any_name), None)
        return None if other is None else msgspec.structs.replace(other, name=name, any_name=False, sent=True)

    @property
    def base_url_parameter(self) -> str | None:
        """The parameter that a caller gives the whole start of the URL in, if there is one."""
        match = _PLACEHOLDER.match(self.url or "")
        return match[1] if match else None

    @property
    def shown_url(self) -> str | None:
        """The URL for listings."""
        return self.url if self.listed_url is None else self.listed_url or None
