"""findEmbeddingProviders, the embedder's catalogue in the Data API's shape, and findRerankingProviders."""

from collections.abc import Mapping, Sequence

from orrery.embedder.v1 import embedder_pb2

from services.gateway.command import Command, Context, Level
from services.gateway.envelope import Answer, Encodable
from services.gateway.fields import Fields
from services.runtime.errors import DataApiError
from services.runtime.roles import Role

_STATUSES: Mapping[str, embedder_pb2.ModelStatus.ValueType] = {
    "SUPPORTED": embedder_pb2.MODEL_STATUS_SUPPORTED,
    "DEPRECATED": embedder_pb2.MODEL_STATUS_DEPRECATED,
    "END_OF_LIFE": embedder_pb2.MODEL_STATUS_END_OF_LIFE,
}
_STATUS_NAMES = {number: name for name, number in _STATUSES.items()}
_AUTHENTICATION_NAMES = {
    embedder_pb2.AUTHENTICATION_TYPE_NONE: "NONE",
    embedder_pb2.AUTHENTICATION_TYPE_HEADER: "HEADER",
    embedder_pb2.AUTHENTICATION_TYPE_SHARED_SECRET: "SHARED_SECRET",
}
_PARAMETER_TYPES = {
    embedder_pb2.PARAMETER_TYPE_STRING: "STRING",
    embedder_pb2.PARAMETER_TYPE_NUMBER: "NUMBER",
    embedder_pb2.PARAMETER_TYPE_BOOLEAN: "BOOLEAN",
}


async def find_embedding_providers(context: Context, fields: Fields) -> Answer:
    """List the enabled providers with the models of the statuses asked for."""
    statuses = model_statuses(fields)
    if not context.features.vectorize:
        raise DataApiError("VECTORIZE_FEATURE_NOT_AVAILABLE")
    wanted = [_STATUSES[name] for name in statuses]
    providers = await context.embedding.providers(wanted)
    return Answer(status={"embeddingProviders": {provider.id: _provider(provider) for provider in providers}})


def model_statuses(fields: Fields) -> Sequence[str]:
    """Return the statuses to list; none stands for all.

    Without options only supported models are listed, with options that name no status all of them: the
    reference's rule.
    """
    if fields.object("options") is None:
        return ("SUPPORTED",)
    options = fields.nested("options", ("filterModelStatus",))
    given = options.string("filterModelStatus")
    if not given:
        return ()
    if given.upper() not in _STATUSES:
        options.refuse("filterModelStatus", given, f"it must be one of {', '.join(_STATUSES)}, or empty for all")
        options.finish()
    return (given.upper(),)


def _provider(provider: embedder_pb2.Provider) -> dict[str, Encodable]:
    return {
        "displayName": provider.display_name,
        "url": provider.url or None,
        "supportedAuthentication": {
            _AUTHENTICATION_NAMES[item.type]: {
                "enabled": item.enabled,
                "tokens": [{"accepted": token.accepted, "forwarded": token.forwarded} for token in item.tokens],
            }
            for item in provider.authentications
        },
        "parameters": [_provider_parameter(parameter) for parameter in provider.parameters],
        "models": [_model(model) for model in provider.models],
    }


def _model(model: embedder_pb2.Model) -> dict[str, Encodable]:
    support: dict[str, Encodable] = {"status": _STATUS_NAMES[model.status]}
    if model.HasField("status_message"):
        support["message"] = model.status_message
    return {
        "name": model.name,
        "apiModelSupport": support,
        "vectorDimension": model.dimension if model.HasField("dimension") else None,
        "parameters": [_parameter(parameter, lower=True) for parameter in model.parameters],
    }


def _parameter(parameter: embedder_pb2.Parameter, *, lower: bool) -> dict[str, Encodable]:
    name = _PARAMETER_TYPES[parameter.type]
    validation: dict[str, Encodable] = {}
    if parameter.HasField("numeric_range"):
        validation["numericRange"] = [parameter.numeric_range.minimum, parameter.numeric_range.maximum]
    elif parameter.options:
        validation["options"] = list(parameter.options)
    return {
        "name": parameter.name,
        "type": name.lower() if lower else name,
        "required": parameter.required,
        "defaultValue": parameter.default_value if parameter.HasField("default_value") else None,
        "validation": validation,
        "help": parameter.help,
    }


def _provider_parameter(parameter: embedder_pb2.Parameter) -> dict[str, Encodable]:
    return {
        **_parameter(parameter, lower=False),
        "displayName": parameter.display_name if parameter.HasField("display_name") else None,
        "hint": parameter.hint if parameter.HasField("hint") else None,
    }


async def find_reranking_providers(context: Context, fields: Fields) -> Answer:
    """Refuse: no reranking provider is built in yet, as where the reference has the feature switched off."""
    model_statuses(fields)
    raise DataApiError("RERANKING_FEATURE_NOT_ENABLED")


COMMANDS = (
    Command("findEmbeddingProviders", Level.DATABASE, Role.READ, ("options",), find_embedding_providers),
    Command("findRerankingProviders", Level.DATABASE, Role.READ, ("options",), find_reranking_providers),
)
