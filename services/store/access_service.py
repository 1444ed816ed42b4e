"""The RPCs of databases and tokens: messages in, typed calls, messages out."""

from collections.abc import Callable

import grpc
from orrery.store.v1 import access_pb2 as pb
from orrery.store.v1 import access_pb2_grpc

from services.runtime.callers import caller_name
from services.runtime.errors import DataApiError
from services.runtime.roles import Role
from services.store.access import Access, Database, Token

_ROLES = {Role.READ: pb.ROLE_READ, Role.WRITE: pb.ROLE_WRITE, Role.ADMIN: pb.ROLE_ADMIN}

Context = grpc.ServicerContext


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    """`orrery.store.v1.AccessService`. Each RPC is described in the contract.

    `caller` tells who calls, for the audit log.
    """

    def __init__(self, access: Access, caller: Callable[[Context], str] = caller_name) -> None:
        self._access = access
        self._caller = caller

    def CreateDatabase(  # noqa: N802 - the contract's name
        self, request: pb.CreateDatabaseRequest, context: Context
    ) -> pb.CreateDatabaseResponse:
        """Create a database."""
        database = self._access.create_database(request.name, list(request.keyspaces), self._caller(context))
        return pb.CreateDatabaseResponse(database=_database_message(database))

    def ListDatabases(  # noqa: N802
        self, request: pb.ListDatabasesRequest, context: Context
    ) -> pb.ListDatabasesResponse:
        """List the databases with what is in them."""
        return pb.ListDatabasesResponse(databases=map(self._contents_message, self._access.databases()))

    def DropDatabase(  # noqa: N802
        self, request: pb.DropDatabaseRequest, context: Context
    ) -> pb.DropDatabaseResponse:
        """Drop a database."""
        database, revoked = self._access.drop_database(request.name, request.id, self._caller(context))
        return pb.DropDatabaseResponse(
            database=_database_message(database), revoked_tokens=map(_token_message, revoked)
        )

    def FinishDrop(  # noqa: N802
        self, request: pb.FinishDropRequest, context: Context
    ) -> pb.FinishDropResponse:
        """Give the name of a dropped database free."""
        self._access.finish_drop(request.id)
        return pb.FinishDropResponse()

    def CreateToken(  # noqa: N802
        self, request: pb.CreateTokenRequest, context: Context
    ) -> pb.CreateTokenResponse:
        """Make a token."""
        role = next((role for role, number in _ROLES.items() if number == request.role), None)
        if role is None:
            raise DataApiError("TOKEN_INVALID", problem="it has no role: give read, write or admin")
        if request.all_databases == bool(request.databases):
            raise DataApiError("TOKEN_INVALID", problem="give the databases that it opens, or that it opens all")
        token, secret = self._access.create_token(
            request.name,
            role,
            list(request.databases),
            self._caller(context),
            rate=request.requests_per_second if request.HasField("requests_per_second") else None,
            lifetime_seconds=request.lifetime.seconds if request.HasField("lifetime") else None,
        )
        return pb.CreateTokenResponse(token=_token_message(token), secret=secret)

    def ListTokens(  # noqa: N802
        self, request: pb.ListTokensRequest, context: Context
    ) -> pb.ListTokensResponse:
        """List the tokens."""
        return pb.ListTokensResponse(tokens=map(_token_message, self._access.tokens()))

    def RevokeToken(  # noqa: N802
        self, request: pb.RevokeTokenRequest, context: Context
    ) -> pb.RevokeTokenResponse:
        """Revoke a token."""
        self._access.revoke_token(request.id, self._caller(context))
        return pb.RevokeTokenResponse()

    def ListAccess(  # noqa: N802
        self, request: pb.ListAccessRequest, context: Context
    ) -> pb.ListAccessResponse:
        """Return databases and tokens for a gateway."""
        version, databases, tokens = self._access.listing(request.if_version)
        return pb.ListAccessResponse(
            version=version,
            databases=map(_database_message, databases),
            tokens=[pb.TokenDigest(token=_token_message(token), digest=token.digest) for token in tokens],
        )

    def _contents_message(self, database: Database) -> pb.DatabaseContents:
        contents = self._access.contents(database.name)
        keyspaces = [
            pb.KeyspaceContents(name=name, collections=[entry.name for entry in entries])
            for name, entries in contents.items()
        ]
        return pb.DatabaseContents(database=_database_message(database), keyspaces=keyspaces)


def _database_message(database: Database) -> pb.Database:
    message = pb.Database(name=database.name, id=database.id, dropping=database.dropping)
    message.create_time.FromSeconds(database.created)
    return message


def _token_message(token: Token) -> pb.Token:
    message = pb.Token(
        id=token.id,
        name=token.name,
        role=_ROLES[token.role],
        all_databases=token.all_databases,
        databases=token.databases,
    )
    if token.rate is not None:
        message.requests_per_second = token.rate
    message.create_time.FromSeconds(token.created)
    if token.expires is not None:
        message.expire_time.FromSeconds(token.expires)
    return message
