"""The settings of the embedder: a YAML file, and a variable for each single value.

`ORRERY_EMBEDDER_CONFIG` names the file. The value `cache.bytes` is also `ORRERY_EMBEDDER_CACHE_BYTES`, and so on; a
variable wins over the file.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from services.runtime import settings as runtime_settings
from services.runtime.line_rate import SLOW_LINES
from services.runtime.settings import NotNegativeFloat, Positive, PositiveFloat, Section, Share


class RequestSettings(Section, frozen=True):
    """How one request is made, and made again. Defaults are the reference's where it has them."""

    attempts: Positive = 4
    """Requests for one text at most: the first and three retries."""
    read_seconds: PositiveFloat = 5.0
    """How long one request may take to be answered, where the catalogue says nothing else."""
    last_back_off_seconds: PositiveFloat = 0.5
    """Longest pause before a retry that the provider did not ask for; the first one is the catalogue's."""
    jitter: Share = 0.5
    """Share of a pause that is random."""
    loading_seconds: PositiveFloat = 20.0
    """Longest pause for a model that the provider says it is loading."""


class FlowSettings(Section, frozen=True):
    """How many requests go out at a time, and how texts are gathered for them."""

    first_window: Positive = 8
    """Requests at a time with one key, before anything is known of what the provider bears."""
    last_window: Positive = 64
    """Requests at a time with one key, at most."""
    gather_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.025
    """Longest time that a text waits for others to share its request, while another request is under way."""
    gather_share: Share = 0.5
    """The same as a share of what a request takes; the lesser holds."""
    longest_hold_seconds: Annotated[float, msgspec.Meta(ge=0)] = 60.0
    """Longest time that everything with a key is held back because the provider said to wait."""
    queued_texts: Positive = 100_000
    """Texts that wait or are under way, over all callers; more are refused."""
    queued_characters: Positive = 128 * 1024 * 1024
    """Characters of those texts, at most."""


class BreakerSettings(Section, frozen=True):
    """When a provider that is down is no longer asked, with one key."""

    failures: Positive = 8
    """Failures in a row after which it is left alone."""
    first_seconds: PositiveFloat = 1.0
    """How long, the first time; each further time twice as long."""
    last_seconds: PositiveFloat = 30.0
    """How long at most."""


class CacheSettings(Section, frozen=True):
    """What is remembered of vectors."""

    bytes: Annotated[int, msgspec.Meta(ge=0)] = 64 * 1024 * 1024
    """Memory for vectors; 0 remembers nothing."""
    file: str | None = None
    """A file that keeps them across restarts; none by default."""
    file_bytes: Positive = 1024 * 1024 * 1024
    """Size of that file, about."""
    mode: Literal["on", "off", "recorded"] = "on"
    """`recorded` answers from the file alone and refuses what is not in it: no provider is asked."""
    shared: bool = False
    """Whether databases share vectors. A quick answer then tells one that another embedded the same text."""


class RateLimit(Section, frozen=True):
    """What one key may be used for in a minute. `provider` and `key` say which; a limit without `key` is each key's."""

    provider: str
    key: str | None = None
    requests: Positive | None = None
    tokens: Positive | None = None


class Budget(Section, frozen=True):
    """What may be spent in a day or a month (UTC), in tokens or money; with `key` or `database` only theirs.

    From `warn_at`, a share of it, answers carry a warning; once it is spent, calls are refused.
    """

    provider: str
    period: Literal["day", "month"]
    tokens: Positive | None = None
    money: PositiveFloat | None = None
    key: str | None = None
    database: str | None = None
    warn_at: Share = 0.8

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.money is None):
            raise ValueError("a budget has either `tokens` or `money`")


class Endpoint(Section, frozen=True):
    """The same model at another place: provider, model, parameters and the name of a stored key."""

    provider: str
    model: str
    key: str | None = None
    parameters: dict[str, str | float | bool] = msgspec.field(default_factory=dict)


class Failover(Section, frozen=True):
    """Where to ask for a model's vectors while its own provider is down, in this order."""

    provider: str
    model: str
    to: tuple[Endpoint, ...]


class LogSettings(Section, frozen=True):
    """What is logged."""

    slow_milliseconds: NotNegativeFloat = 10_000.0
    """From which duration on a call is logged as slow, without its content; 0 logs none."""
    slow_lines_per_second: Positive = SLOW_LINES
    """How many such lines are written a second; the next one tells how many were omitted."""


class Settings(Section, frozen=True):
    """All settings, by section."""

    requests: RequestSettings = RequestSettings()
    flow: FlowSettings = FlowSettings()
    breaker: BreakerSettings = BreakerSettings()
    cache: CacheSettings = CacheSettings()
    limits: tuple[RateLimit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    failover: tuple[Failover, ...] = ()
    log: LogSettings = LogSettings()


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a file and of variables. Raises `ConfigurationError` for what is not valid."""
    return runtime_settings.load_settings(Settings, "ORRERY_EMBEDDER", environment)
