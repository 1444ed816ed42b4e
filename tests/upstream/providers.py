"""A way to use each provider, and its key in a request."""

from dataclasses import dataclass, field, replace
from typing import Any

from orrery.embedder.v1 import embedder_pb2 as pb

from tests.upstream.signatures import AWS_ACCESS_ID


@dataclass(frozen=True)
class Use:
    """A model of a provider with vectors of length `vector`, and the parameters that it needs."""

    provider: str
    model: str
    vector: int
    parameters: dict[str, Any] = field(default_factory=dict)

    def of(self, model: str, vector: int) -> "Use":
        """Return the same of another model."""
        return replace(self, model=model, vector=vector)

    def message(self, **parameters: Any) -> pb.Service:
        """Return the service as the embedder takes it."""
        return pb.Service(
            provider=self.provider,
            model=self.model,
            dimension=self.vector,
            parameters={name: _value(value) for name, value in {**self.parameters, **parameters}.items()},
        )

    def options(self, key: str | None) -> dict[str, Any]:
        """Return the option `vector` of createCollection, with a stored key's name."""
        tokens = ("accessId", "secretKey") if self.provider == "bedrock" else ("providerKey",)
        service: dict[str, Any] = {"provider": self.provider, "modelName": self.model}
        if self.parameters:
            service["parameters"] = self.parameters
        if key is not None:
            service["authentication"] = dict.fromkeys(tokens, key)
        return {"dimension": self.vector, "service": service}


def _value(value: Any) -> pb.ParameterValue:
    if isinstance(value, bool):
        return pb.ParameterValue(flag=value)
    return pb.ParameterValue(text=value) if isinstance(value, str) else pb.ParameterValue(number=value)


_HF = {"endpointName": "my-endpoint", "regionName": "us-east-1", "cloudName": "aws"}

#: One use of each provider.
SERVICES: dict[str, Use] = {
    use.provider: use
    for use in (
        Use("openai", "text-embedding-3-small", 512),
        Use(
            "azureOpenAI",
            "text-embedding-3-large",
            256,
            {"resourceName": "my-resource", "deploymentId": "my-deployment"},
        ),
        Use("bedrock", "amazon.titan-embed-text-v2:0", 512, {"region": "eu-west-1"}),
        Use("cohere", "embed-english-v3.0", 1024),
        Use("huggingface", "sentence-transformers/all-MiniLM-L6-v2", 384),
        Use("huggingfaceDedicated", "endpoint-defined-model", 384, _HF),
        Use("jinaAI", "jina-embeddings-v3", 256),
        Use("mistral", "mistral-embed", 1024),
        Use("nvidia", "NV-Embed-QA", 1024),
        Use("upstageAI", "solar-embedding-1-large", 4096),
        Use("vertexai", "textembedding-gecko@003", 768, {"projectId": "my-project"}),
        Use("voyageAI", "voyage-code-2", 1536),
        Use("ollama", "my-model", 384),
        Use("tei", "endpoint-defined-model", 384),
        Use("openaiCompatible", "my-org/my-model", 384, {"baseUrl": "http://127.0.0.1:1/v1"}),
    )
}


def request_secrets(provider: str, secret: str) -> pb.RequestSecrets:
    """Return a provider's key as a request brings it."""
    if provider == "bedrock":
        return pb.RequestSecrets(access_id=AWS_ACCESS_ID, secret_id=secret)
    return pb.RequestSecrets(api_key=secret)
