"""Bearer tokens of Microsoft Entra ID, for resources that take no bare key.

In: `APPLICATIONINSIGHTS_AUTHENTICATION_STRING`. Out: a token for each POST, renewed
ahead of its end, and at once after the service has refused one. Who we are comes
from the `azure-identity` package: workload identity where
Kubernetes has set it up, the managed identity that ClientId names, else the default
chain. The identity needs the role Monitoring Metrics Publisher on the resource.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from receiver.azure.connection_string import Connection
from receiver.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

DEFAULT_AUDIENCE = "https://monitor.azure.com"
RENEW_AHEAD_SECONDS = 300
SOURCE = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
HINT = (
    "Is an identity assigned to this machine or pod, and is ClientId right? "
    "It needs the role Monitoring Metrics Publisher on the Application Insights resource."
)


@dataclass(frozen=True, slots=True)
class Authentication:
    """How to sign in: `client_id` names a user-assigned identity, or is empty."""

    client_id: str = ""


def parse(text: str) -> Authentication | None:
    """Read an authentication string, Authorization=AAD[;ClientId=…]; None for an empty one.

    Raises: SettingsError.
    """
    fields: dict[str, str] = {}
    for part in filter(str.strip, text.split(";")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise SettingsError(f'{SOURCE}: "{name[:40]}" is not Key=value')
        fields[name.lower()] = value
    if not fields:
        return None
    if fields.get("authorization", "").upper() != "AAD":
        raise SettingsError(
            f"{SOURCE} has to say Authorization=AAD, with ;ClientId=… behind it or not"
        )
    if unknown := set(fields) - {"authorization", "clientid"}:
        raise SettingsError(f"{SOURCE} has unknown keys: {', '.join(sorted(unknown))}")
    return Authentication(fields.get("clientid", ""))


def scope_of(connection: Connection) -> str:
    """Name the scope that a token is asked for: the connection string's audience, or the public cloud's."""
    return (connection.audience or DEFAULT_AUDIENCE).rstrip("/") + "/.default"


def credential_maker(
    authentication: Authentication, connection: Connection
) -> "Callable[[], AsyncTokenCredential]":
    """Choose the kind of credential.

    Raises: SettingsError where a token would cross a network in clear.
    """
    if connection.is_plain:
        raise SettingsError(f"{connection.endpoint} is not https: a token is not sent there")
    from azure.identity import aio  # noqa: PLC0415 - half a second, and 30 MB, for who signs in

    client_id = authentication.client_id
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return lambda: aio.WorkloadIdentityCredential(
            **({"client_id": client_id} if client_id else {})
        )
    if client_id:
        return lambda: aio.ManagedIdentityCredential(client_id=client_id)
    return aio.DefaultAzureCredential


class Tokens:
    """Gives the bearer token to send. `clock` is in seconds since the epoch."""

    def __init__(
        self, make: "Callable[[], AsyncTokenCredential]", scope: str, clock: Callable[[], float]
    ) -> None:
        """Ask for nothing yet."""
        self._make = make
        self._scope = scope
        self._clock = clock
        self._credential: AsyncTokenCredential | None = None
        self._token: AccessToken | None = None
        self._lock = asyncio.Lock()

    async def get(self, refused: str = "") -> str:
        """Return a token; not the one that was `refused`.

        One that ends within five minutes is renewed; where that fails it is used to its end.

        Raises: Unreachable, with what the identity platform said.
        """
        async with self._lock:
            token = self._token
            if token and token.token == refused:
                await self._close()  # it keeps tokens of its own, and would give the same again
                token = self._token = None
            if token and token.expires_on - self._clock() > RENEW_AHEAD_SECONDS:
                return token.token
            try:
                self._credential = self._credential or self._make()
                self._token = await self._credential.get_token(self._scope)
            except Exception as error:
                if token and token.expires_on > self._clock():
                    return token.token
                reason = " ".join(str(error).split())[:300]
                raise Unreachable(f"no token from Microsoft Entra ID: {reason}", HINT) from error
            return self._token.token

    async def _close(self) -> None:
        credential, self._credential = self._credential, None
        if credential:
            await credential.close()

    async def close(self) -> None:
        """Let connections to the identity platform go."""
        async with self._lock:
            await self._close()
