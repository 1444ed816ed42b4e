"""Where a request goes: a URL of the catalogue with its placeholders filled in.

What callers give becomes part of an address that is sent a key, so it may only be what it is meant to be: one label of
a host name, one segment of a path, or a base URL that the operator allows.
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, quote, urlsplit

from services.embedder.entries import Model, Provider

_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Left as they are, because HTTP clients undo their encoding, and a signature is over what is sent.
_SAFE_IN_MODELS = "/@:"
_PORTS = {"http": 80, "https": 443}


def address(provider: Provider, model: Model, parameters: Mapping[str, object]) -> str:
    """Return the URL of a provider for a model.

    Raises `ValueError`, naming the parameter, for a value that is missing or cannot be part of the URL.
    """
    template = provider.url or ""
    base = provider.base_url_parameter
    defaults = {item.name: item.default for item in provider.parameters if item.default is not None}
    host_ends = len(template) if "://" not in template else (template + "/").index("/", template.index("://") + 3)

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        if name == "modelId":
            return _path(name, model.name, safe=_SAFE_IN_MODELS)
        value = parameters.get(name, defaults.get(name))
        if not isinstance(value, str):
            raise ValueError(f"the parameter '{name}' is needed")
        if name == base:
            allowed = [*provider.allowed_base_urls, *([defaults[name]] if name in defaults else [])]
            return _base(name, value, allowed)
        if base is None and match.start() < host_ends:
            return _host_label(name, value)
        return _path(name, value)

    return _PLACEHOLDER.sub(filled, template)


def _host_label(name: str, value: str) -> str:
    if not _HOST_LABEL.fullmatch(value):
        raise ValueError(f"the parameter '{name}' is part of a host name: letters, digits and '-' are allowed")
    return value


def _path(name: str, value: str, safe: str = "") -> str:
    if any(segment in ("", ".", "..") for segment in (value.split("/") if "/" in safe else [value])):
        raise ValueError(f"the parameter '{name}' is part of a path: it cannot be '{value}'")
    return quote(value, safe=safe)


def _base(name: str, value: str, allowed: Sequence[str]) -> str:
    given = _split(value)
    if given is None:
        raise ValueError(f"the parameter '{name}' must be a URL such as http://host:port/path, without anything else")
    if not any(item == "*" or _within(given, _split(item)) for item in allowed):
        raise ValueError(
            f"the parameter '{name}' names {value}, which this server does not allow; "
            f"the operator allows it with ORRERY_ALLOW_BASE_URLS={value}"
        )
    return value.rstrip("/")


def _split(url: str) -> SplitResult | None:
    """Return the parts of a URL of scheme, host, port and path; None for any other."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in _PORTS and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    plain = not any(character in url for character in "@?#\\%") and url.isascii() and url.isprintable()
    dots = any(segment in (".", "..") for segment in parts.path.split("/"))
    return parts if fits and plain and not dots and " " not in url else None


def _within(given: SplitResult, allowed: SplitResult | None) -> bool:
    """Tell whether a URL is at or below another one."""
    if allowed is None or (given.scheme, given.hostname) != (allowed.scheme, allowed.hostname):
        return False
    if (given.port or _PORTS[given.scheme]) != (allowed.port or _PORTS[allowed.scheme]):
        return False
    above = allowed.path.rstrip("/")
    return given.path.rstrip("/") == above or given.path.startswith(above + "/")
