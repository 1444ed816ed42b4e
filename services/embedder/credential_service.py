"""The RPCs of credentials: messages in, typed calls, messages out."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import structlog
from orrery.embedder.v1 import embedder_pb2 as pb
from orrery.embedder.v1 import embedder_pb2_grpc

from services.embedder.catalogue import Catalogue
from services.embedder.credential_rows import Credential
from services.embedder.credentials import CredentialStore
from services.embedder.secret import Secret
from services.runtime.callers import caller_name
from services.runtime.errors import DataApiError

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class CredentialServicer(embedder_pb2_grpc.CredentialServiceServicer):
    """`orrery.embedder.v1.CredentialService`. Each RPC is described in the contract.

    `caller` tells who calls, for the audit log.
    """

    def __init__(
        self, catalogue: Catalogue, credentials: CredentialStore, caller: Callable[[Context], str] = caller_name
    ) -> None:
        self._caller = caller
        self._catalogue = catalogue
        self._credentials = credentials

    async def CreateCredential(  # noqa: N802
        self, request: pb.CreateCredentialRequest, context: Context
    ) -> pb.CreateCredentialResponse:
        """Store a credential for a provider that takes stored ones."""
        secrets = self._secrets(request.provider, request.name, request.secrets)
        credential = await asyncio.to_thread(
            self._credentials.create,
            request.provider,
            request.name,
            secrets,
            list(request.databases),
            who=self._caller(context),
        )
        _log_change("created", credential)
        return pb.CreateCredentialResponse(credential=_credential_message(credential))

    async def ListCredentials(  # noqa: N802
        self, request: pb.ListCredentialsRequest, context: Context
    ) -> pb.ListCredentialsResponse:
        """List the credentials."""
        credentials = await asyncio.to_thread(self._credentials.list, request.provider)
        return pb.ListCredentialsResponse(credentials=map(_credential_message, credentials))

    async def AddDatabases(  # noqa: N802
        self, request: pb.AddDatabasesRequest, context: Context
    ) -> pb.AddDatabasesResponse:
        """Widen a scope."""
        credential = await asyncio.to_thread(
            self._credentials.add_databases,
            request.provider,
            request.name,
            list(request.databases),
            who=self._caller(context),
        )
        _log_change("scope widened", credential)
        return pb.AddDatabasesResponse(credential=_credential_message(credential))

    async def RemoveDatabases(  # noqa: N802
        self, request: pb.RemoveDatabasesRequest, context: Context
    ) -> pb.RemoveDatabasesResponse:
        """Narrow a scope."""
        credential = await asyncio.to_thread(
            self._credentials.remove_databases,
            request.provider,
            request.name,
            list(request.databases),
            who=self._caller(context),
        )
        _log_change("scope narrowed", credential)
        return pb.RemoveDatabasesResponse(credential=_credential_message(credential))

    async def StageSecret(  # noqa: N802
        self, request: pb.StageSecretRequest, context: Context
    ) -> pb.StageSecretResponse:
        """Put secrets beside the active ones, or in their place."""
        secrets = self._secrets(request.provider, request.name, request.secrets)
        credential = await asyncio.to_thread(
            self._credentials.stage,
            request.provider,
            request.name,
            secrets,
            activate=request.activate,
            replace=request.replace,
            who=self._caller(context),
        )
        _log_change("secret rotated" if request.activate else "secret staged", credential)
        return pb.StageSecretResponse(credential=_credential_message(credential))

    async def ActivateSecret(  # noqa: N802
        self, request: pb.ActivateSecretRequest, context: Context
    ) -> pb.ActivateSecretResponse:
        """Switch to a version of the secrets."""
        credential = await asyncio.to_thread(
            self._credentials.activate, request.provider, request.name, request.version, who=self._caller(context)
        )
        _log_change("secret activated", credential)
        return pb.ActivateSecretResponse(credential=_credential_message(credential))

    async def DropSecret(  # noqa: N802
        self, request: pb.DropSecretRequest, context: Context
    ) -> pb.DropSecretResponse:
        """Drop the version of the secrets that is not active."""
        credential = await asyncio.to_thread(
            self._credentials.drop, request.provider, request.name, request.version, who=self._caller(context)
        )
        _log_change("secret dropped", credential)
        return pb.DropSecretResponse(credential=_credential_message(credential))

    async def DeleteCredential(  # noqa: N802
        self, request: pb.DeleteCredentialRequest, context: Context
    ) -> pb.DeleteCredentialResponse:
        """Delete a credential."""
        await asyncio.to_thread(self._credentials.delete, request.provider, request.name, who=self._caller(context))
        log.warning("credential deleted", provider=request.provider, name=request.name)
        return pb.DeleteCredentialResponse()

    async def ForgetDatabase(  # noqa: N802
        self, request: pb.ForgetDatabaseRequest, context: Context
    ) -> pb.ForgetDatabaseResponse:
        """Take a database out of every scope."""
        changed, remaining = await asyncio.to_thread(
            self._credentials.forget_database, request.database, request.database_id, who=self._caller(context)
        )
        for credential in changed:
            _log_change("scope narrowed", credential)
        return pb.ForgetDatabaseResponse(
            changed=map(_credential_message, changed), remaining=map(_credential_message, remaining)
        )

    def _secrets(self, provider_id: str, name: str, given: Mapping[str, str]) -> dict[str, Secret]:
        """Return the secrets of a request; refuse those that are not the provider's. Raises `CREDENTIAL_INVALID`."""
        provider = self._catalogue.get(provider_id)
        problem = None
        if provider is None:
            problem = f"there is no such provider: {self._catalogue.why_not(provider_id)}"
        elif not provider.authentication.shared_secret:
            problem = "the provider takes no stored keys"
        elif set(given) != {token.accepted_token for token in provider.authentication.tokens}:
            names = " and ".join(token.accepted_token for token in provider.authentication.tokens)
            problem = f"the provider takes the secrets {names}, and no other"
        if problem is not None:
            raise DataApiError("CREDENTIAL_INVALID", provider=provider_id, name=name, problem=problem)
        return {token: Secret(text) for token, text in given.items()}


def _log_change(what: str, credential: Credential) -> None:
    log.warning(
        f"credential {what}",
        provider=credential.provider,
        name=credential.name,
        databases=list(credential.databases),
        version=credential.active,
    )


def _credential_message(credential: Credential) -> pb.Credential:
    message = pb.Credential(
        provider=credential.provider,
        name=credential.name,
        databases=credential.databases,
        source=pb.CREDENTIAL_SOURCE_STORED if credential.stored else pb.CREDENTIAL_SOURCE_DIRECTORY,
    )
    message.create_time.FromSeconds(credential.created)
    if credential.last_used is not None:
        message.last_use_time.FromSeconds(credential.last_used)
    for version in credential.versions:
        added = message.versions.add(number=version.number, active=version.number == credential.active)
        added.create_time.FromSeconds(version.created)
    return message
