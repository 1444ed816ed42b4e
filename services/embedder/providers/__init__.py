"""The providers' wire formats: one small module each, pure functions over a catalogue entry."""

from collections.abc import Mapping

from services.embedder.catalogue import WireName
from services.embedder.providers import huggingface, openai_style
from services.embedder.providers.wire import WireFormat

#: How to speak to a provider over HTTP. `local` is computed in process and has none.
WIRE_FORMATS: Mapping[WireName, WireFormat] = {
    "huggingface": WireFormat(huggingface.request_body, huggingface.read_answer),
    "openai": WireFormat(openai_style.request_body, openai_style.read_answer),
}
