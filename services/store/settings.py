"""The settings of the store: a YAML file, and a variable for each single value of a section.

`ORRERY_STORE_CONFIG` names the file. The value `index.storage` is also `ORRERY_STORE_INDEX_STORAGE`, and so on; a
variable wins over the file.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from services.runtime import settings as runtime_settings
from services.runtime.line_rate import SLOW_LINES
from services.runtime.settings import NotNegative, NotNegativeFloat, Positive, Section, Share


class IndexSettings(Section, frozen=True):
    """How the vectors of a collection are indexed."""

    exact_below: NotNegative = 5_000
    """Vectors up to which each search compares them all; past it a graph (HNSW) is built in the background."""
    storage: Literal["float32", "float16", "int8"] = "float32"
    """How the graph keeps vectors in memory. Answers are ranked by the stored float32 vectors in any case."""
    links: Annotated[int, msgspec.Meta(ge=4, le=128)] = 16
    """Links of a vector in the graph (`M`); twice as many on its lowest level."""
    construction_effort: Annotated[int, msgspec.Meta(ge=8, le=2_000)] = 80
    """Candidates looked at for the links of a vector (`efConstruction`)."""
    target_recall: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.98
    """Share of the true 10 nearest that searches are to find; search effort is set by measuring it."""
    rebuild_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.25
    """Share of deleted vectors in the graph past which it is built anew."""
    tail: Positive = 1_000
    """Vectors that wait to be moved into the graph and are compared meanwhile: so many cost less than a walk."""
    snapshot_after: Positive = 2_000
    """Vectors that change, at least, before the graph is written to disk again; a fifth of a large graph's."""


class FilterSettings(Section, frozen=True):
    """How filters are answered."""

    cache_bytes: NotNegative = 64 * 1024 * 1024
    """Memory of a collection for what its filters found lately; 0 keeps nothing."""
    vectors_bytes: NotNegative = 32 * 1024 * 1024
    """Memory of a collection for copies of the vectors that filters selected, asked again and again; 0 keeps none."""


class MemorySettings(Section, frozen=True):
    """How much memory the store may use."""

    bytes: NotNegative = 0
    """Most memory of the process; 0 takes `share` of what the machine, or its container, has."""
    share: Share = 0.8
    """Share of the machine's memory, where `bytes` says nothing."""


class WarmingSettings(Section, frozen=True):
    """Which collections are opened after a start, before anybody asks for them: those that were used last."""

    collections: NotNegative = 16
    """How many, at most; 0 opens none, and each is opened by its first use."""
    memory_share: Share = 0.5
    """Share of the memory that the store may use; none is opened that would take it past that."""


class AdmissionSettings(Section, frozen=True):
    """How many calls are taken on at a time, half of them reads and half of them writes."""

    running: Positive = 32
    """Calls that are answered at a time."""
    waiting: NotNegative = 256
    """Calls that may wait for their turn; more are refused at once."""


class RequestSettings(Section, frozen=True):
    """What one request may bring or ask for. The Data API's own limits are the gateway's, and lower."""

    documents: Positive = 1_000
    """Documents of one insert, each with at most one vector."""
    document_bytes: Positive = 24 * 1024 * 1024
    """Bytes of one document with what lies beside its JSON."""
    operations: Positive = 10_000
    """Operations of one update."""
    page_documents: Positive = 10_000
    """Documents that one call finds, changes or deletes."""
    finds: Positive = 256
    """Finds that come together."""
    vector_dimension: Positive = 65_536
    """Dimension of a collection."""


class MetricsSettings(Section, frozen=True):
    """What the metrics tell."""

    collections: NotNegative = 200
    """Collections that have figures of their own; those of the others are added up."""


class LogSettings(Section, frozen=True):
    """What is logged."""

    slow_milliseconds: NotNegativeFloat = 1_000.0
    """From which duration on a call is logged as slow, without its content; 0 logs none."""
    slow_lines_per_second: Positive = SLOW_LINES
    """How many such lines are written a second; the next one tells how many were omitted."""


class Settings(Section, frozen=True):
    """All settings, by section. `collections` has index settings for single ones, by `KEYSPACE.COLLECTION`."""

    index: IndexSettings = IndexSettings()
    filters: FilterSettings = FilterSettings()
    memory: MemorySettings = MemorySettings()
    warming: WarmingSettings = WarmingSettings()
    admission: AdmissionSettings = AdmissionSettings()
    requests: RequestSettings = RequestSettings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    collections: dict[str, dict[str, str | int | float]] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.collections:
            keyspace, _, collection = name.partition(".")
            if not keyspace or not collection:
                raise ValueError(f"`collections` has {name!r}, which is no KEYSPACE.COLLECTION")
            self.index_of(keyspace, collection)

    def index_of(self, keyspace: str, collection: str) -> IndexSettings:
        """Return the index settings of a collection. Raises `ValueError` for values that are not valid."""
        own = self.collections.get(f"{keyspace}.{collection}", {})
        values = {name: getattr(self.index, name) for name in self.index.__struct_fields__}
        try:
            return msgspec.convert({**values, **own}, IndexSettings)
        except msgspec.ValidationError as problem:
            raise ValueError(f"`collections`, {keyspace}.{collection}: {problem}") from None


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a file and of variables. Raises `ConfigurationError` for what is not valid."""
    return runtime_settings.load_settings(Settings, "ORRERY_STORE", environment)
