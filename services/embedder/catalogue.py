"""The catalogue as one: Orrery's file, the operator's own, and the variables that change an entry."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from services.embedder.entries import CatalogueError, Provider

_OWN_FILE = "providers.yaml"


@dataclass(frozen=True, slots=True)
class CatalogueSettings:
    """What an operator changes.

    `urls` replaces providers' URLs, by `variable_part` of the provider's id. `file` has more providers, in the format
    of `providers.yaml`; one of an id that is there already replaces it. `allowed` switches providers on that are not
    enabled. `base_urls` are what callers may name in parameters that are a URL; `*` allows every one.
    """

    urls: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    allowed: Collection[str] = ()
    base_urls: Sequence[str] = ()


class Catalogue:
    """The providers by id, those that are switched off apart."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._enabled = {provider.id: provider for provider in providers if provider.enabled}
        self._disabled = {provider.id for provider in providers if not provider.enabled}

    def get(self, provider_id: str) -> Provider | None:
        """Return an enabled provider, None when there is none of that id."""
        return self._enabled.get(provider_id)

    def all(self) -> list[Provider]:
        """Return the enabled providers in the order of the catalogue."""
        return list(self._enabled.values())

    def why_not(self, provider_id: str) -> str:
        """Return why a provider cannot be had, and what helps."""
        if provider_id in self._disabled:
            return f"it is switched off; the operator switches it on with ORRERY_ALLOW_PROVIDERS={provider_id}"
        return f"it is not known here; known are {', '.join(self._enabled)}"


def variable_part(provider_id: str) -> str:
    """Return what stands for a provider in the name of a variable: its id in upper case, `_` for other characters."""
    return re.sub(r"[^A-Z0-9]", "_", provider_id.upper())


def load_catalogue(settings: CatalogueSettings | None = None, text: bytes | None = None) -> Catalogue:
    """Return the catalogue. `text` is the YAML to read instead of the file beside this module.

    Raises `CatalogueError`, naming file, provider and member, for a file that is not valid; and for a setting of a
    provider that is not there.
    """
    settings = settings or CatalogueSettings()
    own = files("services.embedder").joinpath(_OWN_FILE).read_bytes() if text is None else text
    providers = {provider.id: provider for provider in _parse(_OWN_FILE, own)}
    if settings.file is not None:
        try:
            added = settings.file.read_bytes()
        except OSError as problem:
            raise CatalogueError(
                f"the file of ORRERY_PROVIDERS_FILE, {settings.file}, cannot be read: {problem.strerror}"
            ) from None
        providers |= {provider.id: provider for provider in _parse(str(settings.file), added)}
    return Catalogue(_changed(providers, settings))


def _parse(name: str, text: bytes) -> list[Provider]:
    try:
        content: Any = msgspec.yaml.decode(text)
    except msgspec.DecodeError as problem:
        raise CatalogueError(f"{name} is not valid YAML: {problem}") from None
    entries = content.get("providers") if isinstance(content, dict) else None
    if not isinstance(entries, list) or len(content) != 1:
        raise CatalogueError(f"{name} is not valid: it must have one member `providers`, a list")
    providers = [_provider(name, at, entry) for at, entry in enumerate(entries, 1)]
    for at, provider in enumerate(providers):
        if provider.id in {earlier.id for earlier in providers[:at]}:
            raise CatalogueError(f"{name} is not valid: it has two providers of the same id, {provider.id!r}")
    return providers


def _provider(name: str, position: int, entry: Any) -> Provider:
    given = entry.get("id") if isinstance(entry, dict) else None
    which = f"provider {given!r}" if given else f"the provider at position {position}"
    try:
        return msgspec.convert(entry, Provider)
    except msgspec.ValidationError as problem:
        what, _, path = str(problem).partition(" - at `$")
        at = f" (at `{path.strip('`').lstrip('.')}`)" if path else ""
        raise CatalogueError(f"{name} is not valid: {which}: {what}{at}") from None


def _changed(providers: Mapping[str, Provider], settings: CatalogueSettings) -> list[Provider]:
    parts = {variable_part(provider_id): provider_id for provider_id in providers}
    for part in sorted(set(settings.urls) - set(parts)):
        raise CatalogueError(f"ORRERY_PROVIDER_{part}_URL names no provider; providers are {', '.join(sorted(parts))}")
    for provider_id in sorted(set(settings.allowed) - set(providers)):
        raise CatalogueError(
            f"ORRERY_ALLOW_PROVIDERS names {provider_id!r}, which is no provider; providers are {', '.join(providers)}"
        )
    changed = []
    for provider in providers.values():
        part = variable_part(provider.id)
        try:
            changed.append(
                msgspec.structs.replace(
                    provider,
                    url=settings.urls.get(part, provider.url),
                    # Callers see the catalogue's URL: where an operator sends requests is not theirs to know.
                    listed_url=provider.shown_url or "",
                    allowed_base_urls=(*provider.allowed_base_urls, *settings.base_urls),
                    enabled=provider.enabled or provider.id in settings.allowed,
                )
            )
        except ValueError as problem:
            raise CatalogueError(f"ORRERY_PROVIDER_{part}_URL is not valid: {problem}") from None
    return changed
