"""Page states: where a find or an updateMany goes on. Opaque to clients, and refused when altered."""

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass

from services.runtime.errors import DataApiError

_VERSION = 1
_LAYOUT = struct.Struct(">BQQ")
_SEAL_BYTES = 16
#: `remaining` where no limit was given.
_UNLIMITED = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class PageState:
    """The position after which to go on, and how many documents the chain of pages may still return."""

    after: int
    remaining: int | None = None


def seal(state: PageState, collection_uid: str) -> str:
    """Return the text of a page state, sealed for one collection.

    The seal is an HMAC under the collection's uid, which no client ever sees and every gateway knows.
    """
    remaining = _UNLIMITED if state.remaining is None else state.remaining
    content = _LAYOUT.pack(_VERSION, state.after, remaining)
    return base64.urlsafe_b64encode(content + _seal(content, collection_uid)).decode()


def unseal(text: str, collection_uid: str) -> PageState:
    """Return the page state of a text.

    Raises `DataApiError` `COMMAND_FIELD_VALUE_INVALID` for a text that this collection never gave out.
    """
    try:
        sealed = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        sealed = b""
    content, given = sealed[: _LAYOUT.size], sealed[_LAYOUT.size :]
    if len(content) != _LAYOUT.size or not hmac.compare_digest(given, _seal(content, collection_uid)):
        raise DataApiError(
            "COMMAND_FIELD_VALUE_INVALID",
            field="command.options.pageState",
            value=f'"{text[:100]}"',
            problem="it is not a page state that this collection gave out; start again without one",
        )
    _, after, remaining = _LAYOUT.unpack(content)
    return PageState(after, None if remaining == _UNLIMITED else remaining)


def _seal(content: bytes, collection_uid: str) -> bytes:
    return hmac.new(collection_uid.encode(), content, hashlib.sha256).digest()[:_SEAL_BYTES]
