"""The option `rerank` of createCollection."""

from services.gateway.collection import RerankOptions, invalid_options
from services.gateway.fields import Fields
from services.runtime.errors import DataApiError

#: The reranking models of the Data API by provider. None is built in yet.
_MODELS = {"nvidia": ("nvidia/llama-3.2-nv-rerankqa-1b-v2",)}


def rerank_options(options: Fields) -> RerankOptions:
    """Return the option `rerank`: it can only be declared disabled.

    Raises `INVALID_CREATE_COLLECTION_OPTIONS` for a value that is not valid, then `RERANKING_FEATURE_NOT_ENABLED`
    for a valid one that asks for reranking.
    """
    if options.object("rerank") is None:
        return RerankOptions(enabled=False)
    rerank = options.nested("rerank", ("enabled", "service"))
    service = rerank.nested("service", ("provider", "modelName", "authentication", "parameters"))
    if rerank.get("enabled") is None:
        raise invalid_options("`enabled` is required in `rerank`")
    if not rerank.boolean("enabled"):
        if any(value is not None for value in service.members.values()):
            raise invalid_options("`rerank.service` cannot be given while `rerank.enabled` is false")
        return RerankOptions(enabled=False)
    if rerank.object("service") is not None:
        _check_service(service)
    raise DataApiError("RERANKING_FEATURE_NOT_ENABLED")


def _check_service(service: Fields) -> None:
    provider, model = service.string("provider"), service.string("modelName")
    if provider is None:
        raise invalid_options("`provider` is required in `rerank.service`")
    if provider not in _MODELS:
        raise invalid_options(f"the reranking provider '{provider}' is not known")
    if model is None:
        raise invalid_options(f"`modelName` is required in `rerank.service` for the provider '{provider}'")
    if model not in _MODELS[provider]:
        raise invalid_options(f"the model '{model}' is not one of the reranking provider '{provider}'")
    if service.object("authentication"):
        raise invalid_options(f"the reranking provider '{provider}' takes no stored key, so no `authentication`")
    if service.object("parameters"):
        raise invalid_options(f"the reranking provider '{provider}' takes no `parameters`")
