"""The settings of the gateway: a YAML file, and a variable for each single value of a section.

`ORRERY_GATEWAY_CONFIG` names the file. The value `log.slow_milliseconds` is also
`ORRERY_GATEWAY_LOG_SLOW_MILLISECONDS`, and so on; a variable wins over the file.
"""

from collections.abc import Mapping
from typing import Literal

from services.runtime import settings as runtime_settings
from services.runtime.settings import NotNegative, Section


class LogSettings(Section, frozen=True):
    """What of the commands is logged."""

    commands: Literal["errors", "all", "none"] = "errors"
    """Which commands have a line: those that end with errors, all, or none."""
    slow_milliseconds: NotNegative = 1_000
    """From which duration on a command is logged as slow, with the shape of what it asked for; 0 logs none."""
    access: bool = False
    """Whether every HTTP request has a line."""


class MetricsSettings(Section, frozen=True):
    """How requests are counted."""

    tenants: Literal["one", "databases"] = "one"
    """What the label `tenant` says: `SINGLE-TENANT` of everything, or the database."""


class Settings(Section, frozen=True):
    """All settings, by section."""

    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings of a file and of variables. Raises `ConfigurationError` for what is not valid."""
    return runtime_settings.load_settings(Settings, "ORRERY_GATEWAY", environment)
