"""AWS signatures as the provider checks them: made again from the request, with botocore."""

import datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

#: The access id that goes with the upstream's token, its secret.
AWS_ACCESS_ID = "AKIAUPSTREAM"

_SCOPE = "aws4_request"


def signature_problem(path: str, headers: dict[str, str], body: bytes, access_id: str, secret: str) -> str | None:
    """Return what is wrong with a request's signature, None when it is good; header names are in lower case."""
    given = headers.get("authorization", "")
    if not given.startswith("AWS4-HMAC-SHA256 Credential="):
        return "Missing Authentication Token"
    parts = dict(part.strip().split("=", 1) for part in given.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    owner, day, region, service, last = parts["Credential"].split("/")
    date = headers.get("x-amz-date", "")
    made = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    if owner != access_id:
        return "The security token included in the request is invalid."
    if abs((datetime.datetime.now(datetime.UTC) - made).total_seconds()) > 300 or day != date[:8]:
        return "Signature expired"
    if (service, last) != ("bedrock", _SCOPE) or f"/{region}/" not in path:
        return "Credential should be scoped to a valid region and service."
    names = parts["SignedHeaders"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return "host and x-amz-date must be signed"
    signed = AWSRequest("POST", f"http://{headers['host']}{path}", {name: headers[name] for name in names}, body)
    signed.context["timestamp"] = date
    signer = SigV4Auth(Credentials(access_id, secret), service, region)
    if signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed) != parts["Signature"]:
        return "The request signature we calculated does not match the signature you provided."
    return None
