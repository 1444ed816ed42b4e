"""Settings of a service: a YAML file with sections, and a variable for each single value of a section.

With the prefix `ORRERY_STORE`, `ORRERY_STORE_CONFIG` names the file, and the value `memory.bytes` is also
`ORRERY_STORE_MEMORY_BYTES`; a variable wins over the file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from services.runtime.errors import ConfigurationError

Positive = Annotated[int, msgspec.Meta(gt=0)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
NotNegativeFloat = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of settings, or all sections together."""


AnySettings = TypeVar("AnySettings", bound=Section)


def load_settings(kind: type[AnySettings], prefix: str, environment: Mapping[str, str]) -> AnySettings:
    """Return the settings of a file and of variables.

    Raises `ConfigurationError`, naming file or variable and the value, for what is not valid.
    """
    variable = f"{prefix}_CONFIG"
    path = environment.get(variable)
    content: Any = {}
    if path:
        try:
            content = msgspec.yaml.decode(Path(path).read_bytes()) or {}
        except (OSError, msgspec.DecodeError) as problem:
            raise ConfigurationError(f"the file of {variable}, {path}, cannot be read: {problem}") from None
        if not isinstance(content, dict):
            raise ConfigurationError(f"the file of {variable}, {path}, must hold sections by name")
    try:
        settings = msgspec.convert(content, kind)
    except msgspec.ValidationError as problem:
        raise ConfigurationError(f"the file of {variable}, {path}, is not valid: {problem}") from None
    for name in kind.__struct_fields__:
        section = getattr(settings, name)
        if isinstance(section, Section):
            changed = _overridden(section, f"{prefix}_{name}_".upper(), environment)
            settings = msgspec.structs.replace(settings, **{name: changed})
    return settings


def _overridden(section: Section, prefix: str, environment: Mapping[str, str]) -> Section:
    """Return a section with the values that variables give."""
    values = {name: getattr(section, name) for name in section.__struct_fields__}
    for name in section.__struct_fields__:
        variable = prefix + name.upper()
        if variable not in environment:
            continue
        try:
            changed = msgspec.convert({**values, name: environment[variable]}, type(section), strict=False)
        except msgspec.ValidationError as problem:
            said = str(problem).partition(" - at ")[0]
            raise ConfigurationError(f"{variable} is {environment[variable]!r}, which is not valid: {said}") from None
        values[name] = getattr(changed, name)
    return type(section)(**values)
