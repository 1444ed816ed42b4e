"""The settings of the gateway: a YAML file, and a variable for each single value of a section.

`ORRERY_GATEWAY_CONFIG` names the file. The value `rates.requests_per_second` is also
`ORRERY_GATEWAY_RATES_REQUESTS_PER_SECOND`, and so on; a variable wins over the file.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from services.runtime import settings as runtime_settings
from services.runtime.line_rate import SLOW_LINES
from services.runtime.settings import NotNegativeFloat, Positive, PositiveFloat, Section


class HttpSettings(Section, frozen=True):
    """What callers may take of the HTTP port."""

    connections: Positive = 1024
    """How many connections are served; more wait to be accepted."""
    header_bytes: Annotated[int, msgspec.Meta(ge=8192, le=1024 * 1024)] = 64 * 1024
    """How long the head of a request may be, with its first line: 431 beyond. It may have 100 headers."""
    idle_seconds: PositiveFloat = 75.0
    """How long a connection may be open without a request under way, the time to send a request's head included."""
    body_seconds: PositiveFloat = 30.0
    """How long a body may take to come, and its next part: 408 beyond. Large ones have more time:"""
    body_bytes_per_second: Positive = 10_000
    """for so many bytes that have come, a second more."""
    discard_bytes: Positive = 80 * 1024 * 1024
    """How much is read of a body that nobody wants, so that its caller sees why: a longer one ends its connection."""
    stop_seconds: PositiveFloat = 30.0
    """How long requests under way have for their answers when the gateway stops."""


class AccessSettings(Section, frozen=True):
    """How the gateway learns which databases and tokens there are."""

    start_seconds: PositiveFloat = 60.0
    """How long the gateway waits for the store at its start, before it serves anything."""
    poll_seconds: PositiveFloat = 1.0
    """How often the store is asked for changes: a revoked token is refused after this time at the latest."""
    stale_seconds: PositiveFloat = 300.0
    """How long tokens are taken as they were last known, while the store cannot be reached."""


class RateSettings(Section, frozen=True):
    """How many requests each gateway takes."""

    requests_per_second: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """Of each token that has no rate of its own; 0 takes any number."""
    burst_seconds: PositiveFloat = 2.0
    """For how many seconds' worth of requests a token may come at once, after a pause."""
    failures_per_second: PositiveFloat = 10.0
    """Requests with a wrong token, from one address, that are answered as such; more are told to slow down."""
    failures_burst: PositiveFloat = 50.0
    """How many such requests may come at once."""


class AuditSettings(Section, frozen=True):
    """Where it is written who created and dropped what, and who was refused."""

    file: str = ""
    """A file that it is written to, besides the log; empty: only to the log."""


class LogSettings(Section, frozen=True):
    """What of the commands is logged."""

    commands: Literal["errors", "all", "none"] = "errors"
    """Which commands have a line: those that end with errors, all, or none."""
    slow_milliseconds: NotNegativeFloat = 1_000.0
    """From which duration on a command is logged as slow, with the shape of what it asked for; 0 logs none."""
    slow_lines_per_second: Positive = SLOW_LINES
    """How many such lines are written a second; the next one tells how many were omitted."""
    access: bool = False
    """Whether every HTTP request has a line."""


class MetricsSettings(Section, frozen=True):
    """How requests are counted."""

    tenants: Literal["one", "databases"] = "one"
    """What the label `tenant` says: `SINGLE-TENANT` of everything, or the database."""


class Settings(Section, frozen=True):
    """All settings, by section."""

    http: HttpSettings = HttpSettings()
    access: AccessSettings = AccessSettings()
    rates: RateSettings = RateSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a file and of variables. Raises `ConfigurationError` for what is not valid."""
    return runtime_settings.load_settings(Settings, "ORRERY_GATEWAY", environment)
