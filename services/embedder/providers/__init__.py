"""The providers' wire formats: one small module each, pure functions over a catalogue entry."""

from collections.abc import Mapping

from services.embedder.entries import WireName
from services.embedder.providers import bedrock, cohere, huggingface, ollama, openai_style, tei, vertexai
from services.embedder.providers.wire import WireFormat

#: How to speak to a provider over HTTP. Wires that are computed in process have none.
WIRE_FORMATS: Mapping[WireName, WireFormat] = {
    "huggingface": WireFormat(huggingface.request_body, huggingface.read_answer),
    "openai": WireFormat(openai_style.request_body, openai_style.read_answer),
    "cohere": WireFormat(cohere.request_body, cohere.read_answer),
    "bedrock": WireFormat(bedrock.request_body, bedrock.read_answer, bedrock.authorise),
    "vertexai": WireFormat(vertexai.request_body, vertexai.read_answer),
    "ollama": WireFormat(ollama.request_body, ollama.read_answer),
    "tei": WireFormat(tei.request_body, tei.read_answer),
}
