"""Texts that are longer than a model takes: where a collection asks for it they are cut, and the caller is told."""

import re

from services.embedder.calls import Text
from services.embedder.entries import ON_TOO_LONG_PARAMETER
from services.embedder.failures import Failure
from services.embedder.providers.wire import EmbeddingModel

#: How providers say that a text is too long. Each has its own words; none has a code for it.
_SAYS_TOO_LONG = re.compile(
    r"too (long|large|many tokens)|maximum|max_|exceed|context length|token limit|longer than", re.I
)
#: What is kept where it is not known how much fits.
_KEPT = 0.75
#: Estimates are a little off: somewhat less than seems to fit is kept.
_MARGIN = 0.95
_LEAST_CHARACTERS = 16


def shorter(model: EmbeddingModel, text: Text, failure: Failure) -> str | None:
    """Return what to send of a text that was refused for its length, None where it is not to be cut.

    It ends with a whole word where it has one.
    """
    if model.parameters.get(ON_TOO_LONG_PARAMETER) != "truncate":
        return None
    said = f"{failure.error.details.get('httpStatus', '')} {failure.error.details.get('errorMessage', '')}"
    if "413" not in said and not _SAYS_TOO_LONG.search(said):
        return None
    most, sent = model.model.max_tokens_per_text, text.sent
    fits = _MARGIN * most / text.tokens if most is not None and text.tokens > most else _KEPT
    kept = int(len(sent) * min(fits, _MARGIN))
    if kept < _LEAST_CHARACTERS:
        return None
    return sent[:kept].rpartition(" ")[0].rstrip() or sent[:kept]
