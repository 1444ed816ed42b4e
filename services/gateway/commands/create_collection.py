"""createCollection: options checked, defaults filled in, and a collection of the store made from them."""

from collections.abc import Mapping
from typing import cast, get_args

import msgspec
from orrery.store.v1 import store_pb2

from services.documents.codec import JsonValue, json_type
from services.documents.paths import parse_path
from services.gateway.collection import (
    Collection,
    CollectionOptions,
    DefaultId,
    DefaultIdOptions,
    IndexingOptions,
    Metric,
    ServiceOptions,
    VectorOptions,
    encode_options,
    invalid_options,
)
from services.gateway.command import Command, Context, Level
from services.gateway.commands.keyspaces import new_name
from services.gateway.commands.lexical_option import lexical_options
from services.gateway.commands.rerank_option import rerank_options
from services.gateway.envelope import Answer
from services.gateway.fields import Fields
from services.gateway.limits import Limits
from services.gateway.storage import collection_of
from services.runtime.errors import DataApiError
from services.runtime.roles import Role

_OPTIONS = ("defaultId", "indexing", "lexical", "rerank", "vector")
_METRICS = get_args(Metric)
_DEFAULT_IDS = get_args(DefaultId)
#: Source models of the reference. All but `other` make vectors of length one, for which it prefers dot products.
_SOURCE_MODELS = (
    "ada002",
    "bert",
    "cohere-v3",
    "gecko",
    "nv-qa-4",
    "openai-v3-large",
    "openai-v3-small",
    "other",
)
_WIRE_METRICS = {
    "cosine": store_pb2.METRIC_COSINE,
    "dot_product": store_pb2.METRIC_DOT_PRODUCT,
    "euclidean": store_pb2.METRIC_EUCLIDEAN,
}


_sorted_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")


async def create_collection(context: Context, fields: Fields) -> Answer:
    """Create a collection; one of the same name and settings is left as it is and counts as created."""
    unknown = "INVALID_CREATE_COLLECTION_FIELD"
    given_name = fields.string("name")
    options = fields.nested("options", _OPTIONS, unknown_code=unknown)
    vector = _VectorRequest(options) if options.object("vector") is not None else None
    indexing = options.nested("indexing", ("allow", "deny"), unknown_code=unknown)
    default_id = _default_id(options)
    fields.finish()
    await _check_keyspace(context)
    name = new_name("Collection", given_name)
    vector_options = await vector.resolve(context) if vector is not None else msgspec.UNSET
    requested = CollectionOptions(
        default_id=default_id,
        vector=vector_options,
        indexing=_indexing(indexing) if options.object("indexing") is not None else msgspec.UNSET,
        lexical=lexical_options(options, context.features),
        rerank=rerank_options(options),
    )
    request = store_pb2.CreateCollectionRequest(
        database=context.database,
        keyspace=context.keyspace,
        name=name,
        settings=_settings(requested, context.limits),
        attributes=encode_options(requested),
        max_collections=_collection_limit(context.limits),
    )
    try:
        response = await context.storage.remote.call(context.storage.rpc.CreateCollection, request)
    except DataApiError as error:
        raise _limit_reached(error, name, context.limits) from None
    if not response.created:
        existing = collection_of(context.database, context.keyspace, response.collection)
        _check_same(existing, requested, given=options)
    context.storage.forget(context.database, context.keyspace, name)
    return Answer(status={"ok": 1})


async def _check_keyspace(context: Context) -> None:
    request = store_pb2.ListCollectionsRequest(database=context.database, keyspace=context.keyspace)
    await context.storage.remote.call(context.storage.rpc.ListCollections, request)


# --- vector -----------------------------------------------------------------


class _VectorRequest:
    """The option `vector` as it was given; `resolve` fills in what was left out."""

    def __init__(self, options: Fields) -> None:
        known = ("dimension", "size", "metric", "function", "sourceModel", "service")
        vector = options.nested("vector", known, unknown_code="INVALID_CREATE_COLLECTION_FIELD")
        dimension = vector.integer("dimension")
        self.dimension = vector.integer("size") if dimension is None else dimension
        if self.dimension is not None and self.dimension <= 0:
            vector.refuse("dimension", self.dimension, "it must be greater than 0")
        metric = vector.string("metric")
        self.metric = vector.string("function") if metric is None else metric
        if self.metric is not None and self.metric not in _METRICS:
            vector.refuse("metric", self.metric, f"it must be one of {', '.join(_METRICS)}")
        self.source_model = vector.string("sourceModel")
        if self.source_model is not None and self.source_model not in _SOURCE_MODELS:
            vector.refuse("sourceModel", self.source_model, f"it must be one of {', '.join(_SOURCE_MODELS)}")
        self.service = _service(vector)

    async def resolve(self, context: Context) -> VectorOptions:
        """Return the option with its defaults, the service checked by the embedder."""
        service: ServiceOptions | msgspec.UnsetType = msgspec.UNSET
        dimension = self.dimension or 0
        if self.service is not None:
            if not context.features.vectorize:
                raise DataApiError("VECTORIZE_FEATURE_NOT_AVAILABLE")
            checked = await context.embedding.check(context.database, self.service, dimension)
            dimension = checked.dimension
            service = ServiceOptions(
                provider=checked.provider,
                model_name=checked.model,
                authentication=dict(checked.authentication) if self.service.authentication is not None else None,
                parameters=self.service.parameters,
            )
        elif self.dimension is None:
            raise invalid_options("`vector.dimension` is needed where `vector.service` is not given")
        elif self.dimension > context.limits.vector_dimension:
            raise DataApiError(
                "VECTOR_SEARCH_TOO_BIG_VALUE", length=self.dimension, maxLength=context.limits.vector_dimension
            )
        source_model = self.source_model or "other"
        metric = self.metric or ("cosine" if source_model == "other" else "dot_product")
        return VectorOptions(dimension, cast("Metric", metric), source_model, service)


def _service(vector: Fields) -> ServiceOptions | None:
    if vector.object("service") is None:
        return None
    service = vector.nested("service", ("provider", "modelName", "authentication", "parameters"))
    provider = service.string("provider")
    if not provider:
        raise invalid_options("`provider` is required in `vector.service`")
    authentication = service.object("authentication")
    if authentication is not None:
        for token, name in authentication.items():
            if not isinstance(name, str):
                raise DataApiError(
                    "REQUEST_STRUCTURE_MISMATCH",
                    problem=f"'{token}' of authentication must be a string, found {json_type(name)}",
                )
    return ServiceOptions(
        provider=provider,
        model_name=service.string("modelName") or "",
        authentication=cast("Mapping[str, str] | None", authentication),
        parameters=cast("Mapping[str, object] | None", service.object("parameters")),
    )


# --- the other options ------------------------------------------------------


def _default_id(options: Fields) -> DefaultIdOptions | msgspec.UnsetType:
    given = options.nested("defaultId", ("type",), unknown_code="INVALID_CREATE_COLLECTION_FIELD").string("type")
    if given is None:
        return msgspec.UNSET
    if given not in _DEFAULT_IDS:
        options.refuse("idConfig.idType", given, f"it must be one of {', '.join(_DEFAULT_IDS)}")
        return msgspec.UNSET
    return DefaultIdOptions(cast("DefaultId", given))


def _indexing(indexing: Fields) -> IndexingOptions:
    allow, deny = indexing.array("allow"), indexing.array("deny")
    if allow is not None and deny is not None:
        raise _bad_indexing("`allow` and `deny` exclude each other; give one of them")
    if allow is None and deny is None:
        raise _bad_indexing("it needs one of `allow` and `deny`")
    name, paths = ("allow", allow) if allow is not None else ("deny", deny or [])
    texts = [_indexed_path(path) for path in paths]
    if len(set(texts)) != len(texts):
        raise _bad_indexing(f"`{name}` has duplicates; give each path once")
    return IndexingOptions(**{name: tuple(texts)})


def _indexed_path(path: JsonValue) -> str:
    if not isinstance(path, str):
        raise DataApiError("REQUEST_STRUCTURE_MISMATCH", problem=f"a path of indexing is a {json_type(path)}")
    if not path:
        raise _bad_indexing("a path must not be empty")
    if path.startswith("$") and path != "$vector":
        raise _bad_indexing(f"the path '{path}' must not start with '$'")
    try:
        parse_path(path)
    except ValueError as problem:
        raise _bad_indexing(f"'{path}' is not a valid path: {problem}") from None
    return path


def _bad_indexing(problem: str) -> DataApiError:
    return DataApiError("INVALID_INDEXING_DEFINITION", problem=problem)


# --- the store's part -------------------------------------------------------


def _collection_limit(limits: Limits) -> int:
    """Return the most collections a database may have: by their own limit, and by the indexes they need."""
    return min(limits.max_collections, limits.indexes_available // max(1, limits.indexes_per_collection))


def _limit_reached(error: DataApiError, name: str, limits: Limits) -> DataApiError:
    """Return the store's error, or the one about indexes where it was they that left no room for a collection."""
    if error.code != "TOO_MANY_COLLECTIONS":
        return error
    count = int(error.details["collectionCount"])
    if count >= limits.max_collections:
        return error
    return DataApiError(
        "TOO_MANY_INDEXES_FOR_COLLECTION",
        collection=name,
        needed=limits.indexes_per_collection,
        available=max(0, limits.indexes_available - count * limits.indexes_per_collection),
        maximum=limits.indexes_available,
    )


def _settings(options: CollectionOptions, limits: Limits) -> store_pb2.CollectionSettings:
    document = limits.document
    settings = store_pb2.CollectionSettings(
        limits=store_pb2.DocumentLimits(
            max_characters=document.max_characters or 0,
            max_depth=document.max_depth or 0,
            max_path_characters=document.max_path_characters or 0,
            max_object_members=document.max_object_members or 0,
            max_members=document.max_members or 0,
            max_array_elements=document.max_array_elements or 0,
            max_string_bytes=document.max_string_bytes or 0,
        )
    )
    if options.vector is not msgspec.UNSET:
        settings.vector.dimension = options.vector.dimension
        settings.vector.metric = _WIRE_METRICS[options.vector.metric]
    if options.indexing is not msgspec.UNSET:
        rules = options.indexing.rules()
        settings.indexing.deny_all = rules.deny_all
        settings.indexing.allow_all = options.indexing.allow == ("*",)
        settings.indexing.allow.extend(store_pb2.Path(segments=path) for path in rules.allow or ())
        settings.indexing.deny.extend(store_pb2.Path(segments=path) for path in rules.deny)
    return settings


def _check_same(existing: Collection, requested: CollectionOptions, *, given: Fields) -> None:
    """Refuse to take an existing collection for the one asked for when their settings differ.

    `lexical` and `rerank` are compared only where they were given.
    """
    differences = [
        name
        for name, left, right in (
            ("vector", existing.options.vector, requested.vector),
            ("indexing", _as_sets(existing.options.indexing), _as_sets(requested.indexing)),
            ("defaultId", existing.options.default_id, requested.default_id),
            ("lexical", existing.options.lexical, requested.lexical),
            ("rerank", existing.options.rerank, requested.rerank),
        )
        if not _same(left, right) and (name not in ("lexical", "rerank") or given.get(name) is not None)
    ]
    if differences:
        raise DataApiError(
            "EXISTING_COLLECTION_DIFFERENT_SETTINGS",
            collection=existing.name,
            difference=f"different: {', '.join(differences)}",
        )


def _same(left: object, right: object) -> bool:
    if left is msgspec.UNSET or right is msgspec.UNSET:
        return left is right
    return _sorted_encoder.encode(left) == _sorted_encoder.encode(right)


def _as_sets(indexing: IndexingOptions | msgspec.UnsetType) -> dict[str, list[str]] | None:
    if indexing is msgspec.UNSET:
        return None
    return {"allow": sorted(indexing.allow), "deny": sorted(indexing.deny)}


COMMANDS = (Command("createCollection", Level.KEYSPACE, Role.ADMIN, ("name", "options"), create_collection),)
