"""A collection as the gateway knows it: its options, typed, with their defaults filled in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from services.documents.indexing import EVERYTHING, Indexing
from services.documents.paths import parse_path
from services.runtime.errors import DataApiError

Metric = Literal["cosine", "dot_product", "euclidean"]
DefaultId = Literal["objectId", "uuid", "uuidv6", "uuidv7"]
LexicalAnalyzer = str | dict[str, object]


class ServiceOptions(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`vector.service`: how texts are embedded. `authentication` maps token names to `<credential>.<token>`."""

    provider: str
    model_name: str = ""
    authentication: Mapping[str, str] | None = None
    parameters: Mapping[str, object] | None = None


class VectorOptions(msgspec.Struct, frozen=True, rename="camel"):
    """`vector`: length and nearness of vectors, and the service that makes them, if any."""

    dimension: int
    metric: Metric
    source_model: str
    service: ServiceOptions | msgspec.UnsetType = msgspec.UNSET


class IndexingOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """`indexing`: the paths to index, or not to, as they were given."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def rules(self) -> Indexing:
        """Return what the option means; the single path `*` stands for every path."""
        if self.deny == ("*",):
            return Indexing(deny_all=True)
        if self.allow and self.allow != ("*",):
            return Indexing(allow=frozenset(map(parse_path, self.allow)))
        return Indexing(deny=frozenset(map(parse_path, self.deny)))


class DefaultIdOptions(msgspec.Struct, frozen=True):
    """`defaultId`: what kind of `_id` is generated."""

    type: DefaultId


class LexicalOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """`lexical`: whether texts are indexed for search by words, and how they are analysed."""

    enabled: bool
    analyzer: LexicalAnalyzer | None = None


class RerankOptions(msgspec.Struct, frozen=True, omit_defaults=True):
    """`rerank`: whether hybrid finds are reranked, and by which service."""

    enabled: bool
    service: ServiceOptions | None = None


class CollectionOptions(msgspec.Struct, frozen=True, rename="camel"):
    """The options of createCollection after defaults: what findCollections shows and what is compared."""

    default_id: DefaultIdOptions | msgspec.UnsetType = msgspec.UNSET
    vector: VectorOptions | msgspec.UnsetType = msgspec.UNSET
    indexing: IndexingOptions | msgspec.UnsetType = msgspec.UNSET
    lexical: LexicalOptions = msgspec.field(default_factory=lambda: LexicalOptions(enabled=False))
    rerank: RerankOptions = msgspec.field(default_factory=lambda: RerankOptions(enabled=False))


_encoder = msgspec.json.Encoder(decimal_format="number")
_decoder = msgspec.json.Decoder(CollectionOptions)


def encode_options(options: CollectionOptions) -> bytes:
    """Return options as the store keeps them."""
    return _encoder.encode(options)


def decode_options(attributes: bytes) -> CollectionOptions:
    """Return options as the store kept them. Raises `msgspec.DecodeError` for bytes that are none."""
    return _decoder.decode(attributes)


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of the store, ready for commands."""

    database: str
    keyspace: str
    name: str
    uid: str
    options: CollectionOptions
    indexing: Indexing = EVERYTHING


def invalid_options(reason: str) -> DataApiError:
    """Return the error of options that no collection can be created with."""
    return DataApiError("INVALID_CREATE_COLLECTION_OPTIONS", reason=reason)
