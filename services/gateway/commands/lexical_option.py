"""The option `lexical` of createCollection."""

from typing import cast

from services.documents.codec import JsonObject, JsonValue, json_type
from services.gateway.collection import LexicalAnalyzer, LexicalOptions, invalid_options
from services.gateway.command import Features
from services.gateway.fields import Fields
from services.runtime.errors import DataApiError

_DEFAULT_ANALYZER = "standard"
_ANALYZER_MEMBERS = {"charFilters": "Array", "filters": "Array", "tokenizer": "Object"}


def lexical_options(options: Fields, features: Features) -> LexicalOptions:
    """Return the option `lexical` with its defaults.

    Raises `INVALID_CREATE_COLLECTION_OPTIONS` for a value that is not valid, then `LEXICAL_FEATURE_NOT_ENABLED`
    for a valid one that this server does not offer.
    """
    if options.object("lexical") is None:
        if features.lexical:
            return LexicalOptions(enabled=True, analyzer=_DEFAULT_ANALYZER)
        return LexicalOptions(enabled=False)
    lexical = options.nested("lexical", ("enabled", "analyzer"))
    if lexical.get("enabled") is None:
        raise invalid_options("`enabled` is required in `lexical`")
    analyzer = lexical.get("analyzer")
    if not lexical.boolean("enabled"):
        if analyzer is not None and analyzer != {}:
            raise invalid_options(
                f"`lexical.analyzer` is a {json_type(analyzer)} while `lexical.enabled` is false; "
                "it may be absent, null or an empty object"
            )
        return LexicalOptions(enabled=False)
    checked = _analyzer(analyzer)
    if not features.lexical:
        raise DataApiError("LEXICAL_FEATURE_NOT_ENABLED")
    return LexicalOptions(enabled=True, analyzer=checked)


def _analyzer(value: JsonValue) -> LexicalAnalyzer:
    if value is None or value == {}:
        return _DEFAULT_ANALYZER
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise invalid_options(f"`lexical.analyzer` must be an object or a string, found {json_type(value)}")
    _check_members(value)
    return cast("dict[str, object]", value)


def _check_members(analyzer: JsonObject) -> None:
    unknown = sorted(set(analyzer) - set(_ANALYZER_MEMBERS))
    if unknown:
        raise invalid_options(
            f"`lexical.analyzer` has unknown members [{', '.join(unknown)}]; "
            f"valid ones are [{', '.join(sorted(_ANALYZER_MEMBERS))}]"
        )
    for name, wanted in _ANALYZER_MEMBERS.items():
        value = analyzer.get(name)
        if value is not None and json_type(value) != wanted:
            raise invalid_options(f"`{name}` of `lexical.analyzer` must be an {wanted}, found {json_type(value)}")
