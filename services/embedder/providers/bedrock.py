"""Amazon Bedrock: `InvokeModel` of the Titan text embedding models, one text a request, signed (SigV4).

Facts: the provider's user guide on Titan text embeddings (`inputText`, `dimensions`, `embedding`,
`inputTextTokenCount`) and its API reference of `InvokeModel`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.embedder.providers.wire import Answer, EmbeddingModel, Unsigned, to_vectors, tokens_at, vectors_at
from services.embedder.secret import Secret

SERVICE = "bedrock"
ACCESS_ID, SECRET_KEY, REGION = "accessId", "secretKey", "region"


def request_body(model: EmbeddingModel, texts: Sequence[str]) -> dict[str, Any]:
    """Return the request for one text."""
    (text,) = model.texts(texts)
    return {**model.members(), "inputText": text}


def read_answer(body: Any, count: int) -> Answer:
    """Return the vector of an answer, float32[1, d]. Raises `AnswerError`."""
    tokens = tokens_at(body, "inputTextTokenCount")
    return Answer(to_vectors([vectors_at(body, "embedding")], count), tokens, tokens)


def authorise(model: EmbeddingModel, request: Unsigned, keys: Mapping[str, Secret]) -> dict[str, str]:
    """Return the headers that sign a request, made now: they hold for some minutes."""
    if ACCESS_ID not in keys or SECRET_KEY not in keys:
        return {}
    # Imported here: it takes longer than most of what an embedder imports, and few sign requests.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signed = AWSRequest("POST", request.url, dict(request.headers), request.body)
    credentials = Credentials(keys[ACCESS_ID].reveal(), keys[SECRET_KEY].reveal())
    SigV4Auth(credentials, SERVICE, str(model.parameters.get(REGION, ""))).add_auth(signed)
    return {name: str(value) for name, value in signed.headers.items() if name not in request.headers}
