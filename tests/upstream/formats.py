"""How each provider speaks: what it takes, what it answers, and its error bodies. Strict, as the providers are.

Facts: the providers' API references and the Data API's own clients. Nothing here is taken from the catalogue, so that
a mistake in it is found.
"""

import base64
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.upstream.signatures import AWS_ACCESS_ID, signature_problem

Vectors = Sequence[Sequence[Any]]


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A request that the provider answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Call:
    """A request as it came: path with the query and without the provider's name, header names in lower case."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    raw: bytes = b""
    raw_path: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a request asks for: vectors of a dimension for some texts."""

    texts: list[str]
    dimension: int


@dataclass(frozen=True)
class Format:
    """A provider's format.

    `models` are the dimensions by the name that requests carry, 0 for those that requests choose. `path` is a pattern
    whose group `model` names the model where the body does not. `members` are those allowed besides texts and model;
    each has its allowed values, None for any; those in `required` must be there.
    """

    path: str
    models: dict[str, int]
    texts: str = "input"
    batch: int = 32
    members: dict[str, tuple[Any, ...] | None] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    error: str = "error"
    key_header: str = "authorization"
    scheme: str = "Bearer "
    bad_key: str = "Invalid API key"
    needs_key: bool = True
    names_model: bool = True
    one_text: bool = False
    dimensions: str | None = None

    def check(self, call: Call, token: str) -> Wanted:
        """Return what a request asks for. Raises `Refusal`."""
        match = re.fullmatch(self.path, call.path)
        if match is None:
            raise Refusal(404, f"no such path: {call.path}")
        self.check_key(call, token)
        if call.headers.get("content-type") != "application/json":
            raise Refusal(415, "application/json is wanted")
        texts = self.read_texts(call.body)
        if not texts or not all(isinstance(text, str) and text for text in texts):
            raise Refusal(400, "texts must be strings that are not empty")
        if len(texts) > self.batch:
            raise Refusal(400, f"{len(texts)} texts are too many, {self.batch} are allowed")
        name = match.groupdict().get("model") or (call.body.get("model") if self.names_model else "")
        if name not in self.models:
            raise Refusal(404, f"no such model: {name}")
        chosen = self.read_members(call.body).get(self.dimensions) if self.dimensions else None
        return Wanted(texts, chosen or self.models[name] or 384)

    def check_key(self, call: Call, token: str) -> None:
        given = call.headers.get(self.key_header)
        if given != self.scheme + token and not (given is None and not self.needs_key):
            raise Refusal(401, self.bad_key)

    def read_texts(self, body: dict[str, Any]) -> list[str]:
        texts = body.get(self.texts)
        if self.one_text:
            texts = [texts]
        if not isinstance(texts, list):
            raise Refusal(422, f"`{self.texts}` must be an array")
        return texts

    def read_members(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the members besides texts and model. Raises `Refusal` for unknown, missing or wrong ones."""
        rest = {name: value for name, value in body.items() if name != self.texts}
        if self.names_model:
            rest.pop("model", None)
        return self.checked(rest)

    def checked(self, rest: dict[str, Any]) -> dict[str, Any]:
        for name, value in rest.items():
            allowed = self.members.get(name, ())
            if allowed is not None and value not in allowed:
                raise Refusal(422, f"`{name}` with {value!r} is not known")
        for name in self.required:
            if name not in rest:
                raise Refusal(422, f"`{name}` is required")
        return rest

    def refuse(self, message: str) -> Any:
        """Return an error body."""
        body: Any = message
        for name in reversed(self.error.split(".")):
            body = {name: body}
        return body

    def answer(self, vectors: Vectors, tokens: int, body: dict[str, Any]) -> Any:
        """Return an answer as OpenAI and those that follow it give it."""
        encode = _in_base64 if body.get("encoding_format") == "base64" else list
        data = [{"object": "embedding", "index": at, "embedding": encode(row)} for at, row in enumerate(vectors)]
        usage = {"total_tokens": tokens, "prompt_tokens": tokens}
        # The order of arrival is not promised: the index is.
        return {"object": "list", "model": body.get("model", "m"), "usage": usage, "data": data[::-1]}


def _in_base64(row: Sequence[Any]) -> Any:
    """Return little-endian float32 in Base64; what are no numbers stay as they are."""
    try:
        return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
    except struct.error:
        return list(row)


class Rows(Format):
    """Hugging Face and Text Embeddings Inference: the answer is the rows themselves."""

    def answer(self, vectors: Vectors, tokens: int, body: dict[str, Any]) -> Any:
        return [list(row) for row in vectors]


class Cohere(Format):
    """Cohere, version 2."""

    def answer(self, vectors: Vectors, tokens: int, body: dict[str, Any]) -> Any:
        return {
            "id": "1",
            "embeddings": {"float": [list(row) for row in vectors]},
            "texts": body["texts"],
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
        }


class Ollama(Format):
    """Ollama's own route."""

    def answer(self, vectors: Vectors, tokens: int, body: dict[str, Any]) -> Any:
        rows = [list(row) for row in vectors]
        return {"model": body["model"], "embeddings": rows, "total_duration": 1, "prompt_eval_count": tokens}


class Bedrock(Format):
    """Titan behind `InvokeModel`: one text, a signed request."""

    def check_key(self, call: Call, token: str) -> None:
        problem = signature_problem(call.raw_path, call.headers, call.raw, AWS_ACCESS_ID, token)
        if problem is not None:
            raise Refusal(403, problem)

    def read_members(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.checked({name: value for name, value in body.items() if name != self.texts})

    def answer(self, vectors: Vectors, tokens: int, body: dict[str, Any]) -> Any:
        rows = [list(row) for row in vectors]
        return {"embedding": rows[0] if len(rows) == 1 else rows, "inputTextTokenCount": tokens}


class Vertex(Format):
    """Google's publisher models: instances in, predictions out."""

    def read_texts(self, body: dict[str, Any]) -> list[str]:
        instances = body.get("instances")
        if not isinstance(instances, list):
            raise Refusal(400, "`instances` must be an array")
        for instance in instances:
            if instance.get("task_type") not in ("RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"):
                raise Refusal(400, f"unknown task_type: {instance.get('task_type')}")
            if instance.keys() != {"content", "task_type"}:
                raise Refusal(400, f"unknown members of an instance: {list(instance)}")
        return [instance["content"] for instance in instances]

    def check(self, call: Call, token: str) -> Wanted:
        wanted = super().check(call, token)
        if "gemini-embedding-001" in call.path and len(wanted.texts) > 1:
            raise Refusal(400, "gemini-embedding-001 takes one instance a request")
        return wanted

    def read_members(self, body: dict[str, Any]) -> dict[str, Any]:
        if not body.keys() <= {"instances", "parameters"}:
            raise Refusal(400, f"unknown members: {list(body)}")
        return self.checked(body.get("parameters", {}))

    def refuse(self, message: str) -> Any:
        return {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}

    def answer(self, vectors: Vectors, tokens: int, body: dict[str, Any]) -> Any:
        statistics = {"truncated": False, "token_count": tokens / max(1, len(vectors))}
        return {
            "predictions": [{"embeddings": {"values": list(row), "statistics": statistics}} for row in vectors],
            "metadata": {"billableCharacterCount": 1},
        }


_OPENAI_MODELS = {"text-embedding-3-small": 0, "text-embedding-3-large": 0, "text-embedding-ada-002": 1536}
_JINA_TASKS = ("retrieval.query", "retrieval.passage", "separation", "classification", "text-matching")
_BOOLEAN = (True, False)

#: The formats by provider id.
FORMATS: dict[str, Format] = {
    "openai": Format(
        "/v1/embeddings",
        _OPENAI_MODELS,
        batch=2048,
        members={"dimensions": None, "encoding_format": ("float", "base64")},
        error="error.message",
        dimensions="dimensions",
    ),
    "azureOpenAI": Format(
        r"/my-resource/openai/deployments/my-deployment/embeddings\?api-version=2024-02-01",
        _OPENAI_MODELS,
        batch=2048,
        members={"dimensions": None, "encoding_format": ("float", "base64")},
        error="error.message",
        key_header="api-key",
        scheme="",
        dimensions="dimensions",
    ),
    "bedrock": Bedrock(
        "/eu-west-1/model/(?P<model>[^/]+)/invoke",
        {"amazon.titan-embed-text-v1": 1536, "amazon.titan-embed-text-v2:0": 0},
        texts="inputText",
        batch=1,
        one_text=True,
        members={"dimensions": (256, 512, 1024), "normalize": _BOOLEAN},
        error="message",
        names_model=False,
        dimensions="dimensions",
    ),
    "cohere": Cohere(
        "/v2/embed",
        {
            **{f"embed-{name}-v3.0": 1024 for name in ("english", "multilingual")},
            **{f"embed-{name}-light-v3.0": 384 for name in ("english", "multilingual")},
            "embed-english-v2.0": 4096,
            "embed-v4.0": 0,
        },
        texts="texts",
        batch=96,
        members={
            "input_type": ("search_document", "search_query"),
            "embedding_types": (["float"],),
            "output_dimension": (256, 512, 1024, 1536),
        },
        required=("input_type", "embedding_types"),
        dimensions="output_dimension",
        error="message",
    ),
    "huggingface": Rows(
        "/hf-inference/models/(?P<model>.+)/pipeline/feature-extraction",
        {
            "sentence-transformers/all-MiniLM-L6-v2": 384,
            "intfloat/multilingual-e5-large": 1024,
            "intfloat/multilingual-e5-large-instruct": 1024,
            "BAAI/bge-small-en-v1.5": 384,
            "BAAI/bge-base-en-v1.5": 768,
            "BAAI/bge-large-en-v1.5": 1024,
        },
        texts="inputs",
        members={"options": ({"waitForModel": True},)},
        bad_key="Invalid username or password.",
        names_model=False,
    ),
    "huggingfaceDedicated": Format(
        "/my-endpoint/us-east-1/aws/embeddings", {"": 384}, error="message", names_model=False
    ),
    "jinaAI": Format(
        "/v1/embeddings",
        {
            **{f"jina-embeddings-v2-base-{language}": 768 for language in ("en", "de", "es", "code", "zh")},
            "jina-embeddings-v3": 0,
        },
        members={"dimensions": None, "task": _JINA_TASKS, "late_chunking": _BOOLEAN},
        error="detail",
        dimensions="dimensions",
    ),
    "mistral": Format(
        "/v1/embeddings",
        {"mistral-embed": 1024},
        members={"encoding_format": ("float",)},
        error="message",
    ),
    "nvidia": Format(
        "/v1/embeddings",
        {"NV-Embed-QA": 1024, "nvidia/nv-embedqa-e5-v5": 1024},
        batch=8,
        members={"input_type": ("passage", "query")},
        required=("input_type",),
        needs_key=False,
    ),
    "upstageAI": Format(
        "/v1/solar/embeddings",
        {"solar-embedding-1-large-passage": 4096, "solar-embedding-1-large-query": 4096},
        batch=1,
        one_text=True,
        error="error.message",
    ),
    "vertexai": Vertex(
        "/v1/projects/my-project/locations/us-central1/publishers/google/models/(?P<model>[^/]+):predict",
        {
            "textembedding-gecko@003": 768,
            "text-embedding-005": 0,
            "text-multilingual-embedding-002": 0,
            "gemini-embedding-001": 0,
        },
        batch=5,
        members={"autoTruncate": _BOOLEAN, "outputDimensionality": None},
        names_model=False,
        dimensions="outputDimensionality",
    ),
    "voyageAI": Format(
        "/v1/embeddings",
        {
            **{f"voyage-{name}": 1024 for name in ("large-2-instruct", "law-2", "2", "finance-2", "multilingual-2")},
            **{f"voyage-{name}": 1536 for name in ("code-2", "large-2")},
        },
        batch=128,
        members={"input_type": ("document", "query"), "truncation": _BOOLEAN},
        required=("input_type",),
        error="detail",
    ),
    "ollama": Ollama(
        "/api/embed",
        {"all-minilm": 384, "nomic-embed-text": 768, "mxbai-embed-large": 1024, "my-model": 384},
        members={"truncate": _BOOLEAN},
        needs_key=False,
    ),
    "tei": Rows(
        "/embed",
        {"": 384},
        texts="inputs",
        members={"truncate": _BOOLEAN, "normalize": _BOOLEAN, "prompt_name": ("passage", "query")},
        names_model=False,
        needs_key=False,
    ),
    "openaiCompatible": Format(
        "/v1/embeddings",
        {"my-org/my-model": 384},
        members={"dimensions": None},
        error="error.message",
        needs_key=False,
        dimensions="dimensions",
    ),
}

#: Where a provider's requests go below the upstream's URL, `{id}` being the provider: a template for
#: ORRERY_PROVIDER_<ID>_URL. The rest of each path is the provider's own.
PATHS: dict[str, str] = {
    "azureOpenAI": "/{resourceName}/openai/deployments/{deploymentId}/embeddings?api-version=2024-02-01",
    "bedrock": "/{region}/model/{modelId}/invoke",
    "cohere": "/v2/embed",
    "huggingface": "/hf-inference/models/{modelId}/pipeline/feature-extraction",
    "huggingfaceDedicated": "/{endpointName}/{regionName}/{cloudName}/embeddings",
    "upstageAI": "/v1/solar/embeddings",
    "vertexai": "/v1/projects/{projectId}/locations/{region}/publishers/google/models/{modelId}:predict",
    "ollama": "/api/embed",
    "tei": "/embed",
}


def path_of(provider: str) -> str:
    """Return the path of a provider's URL, placeholders in it."""
    return f"/{provider}{PATHS.get(provider, '/v1/embeddings')}"
