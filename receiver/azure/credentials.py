"""Bearer tokens of Microsoft Entra ID, for resources that require sign-in.

In: `APPLICATIONINSIGHTS_AUTHENTICATION_STRING`. Out: a token for each POST, renewed in the
background before it expires, and at once after the service refuses it. The credential comes
from the `azure-identity` package: workload identity where Kubernetes has set it up, the
managed identity that ClientId names, else the default chain. The identity needs the role
Monitoring Metrics Publisher on the resource.
"""

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from receiver.azure.connection_string import Connection
from receiver.errors import SettingsError, Unreachable
from receiver.events import Events, Kind

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

DEFAULT_AUDIENCE = "https://monitor.azure.com"
RENEW_AHEAD_SECONDS = 300
RENEW_APART_SECONDS = 30.0
"""Time between two attempts to renew a token that is still valid."""
TOKEN_SECONDS = 15.0
"""Timeout for a token: less than that of a POST, which waits for it."""
CLOSE_SECONDS = 1.0
REASON_LIMIT = 1000
_OF_SERVERS = ("ManagedIdentityCredential", "WorkloadIdentityCredential")
SOURCE = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
HINT = (
    "Check that an identity is assigned to this machine or pod, and that ClientId is right. "
    "The identity needs the role Monitoring Metrics Publisher on the Application Insights resource."
)
HINT_SILENT = (
    "Nothing answers there: check that an identity is assigned to this machine or pod, and that no firewall or "
    "network policy blocks that address."
)

NOT_RENEWED = Kind("delivery", "token not renewed")
"""While the current token is still valid."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """The sign-in: `client_id` names a user-assigned identity, or is empty."""

    client_id: str = ""


def parse(text: str, source: str = SOURCE) -> Authentication | None:
    """Read an authentication string, Authorization=AAD[;ClientId=…]; None for an empty one.

    `source` names it in messages.

    Raises: SettingsError.
    """
    fields: dict[str, str] = {}
    for part in filter(str.strip, text.split(";")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise SettingsError(f'{source}: "{name[:40]}" is not Key=value')
        fields[name.lower()] = value
    if not fields:
        return None
    if fields.get("authorization", "").upper() != "AAD":
        raise SettingsError(
            f"{source} must be Authorization=AAD or Authorization=AAD;ClientId=<id>"
        )
    if unknown := set(fields) - {"authorization", "clientid"}:
        raise SettingsError(f"{source} has unknown keys: {', '.join(sorted(unknown))}")
    return Authentication(fields.get("clientid", ""))


def scope_of(connection: Connection) -> str:
    """Return the token's scope: the connection string's audience, or the public cloud's."""
    return (connection.audience or DEFAULT_AUDIENCE).rstrip("/") + "/.default"


def credential_maker(
    authentication: Authentication, connection: Connection
) -> "Callable[[], AsyncTokenCredential]":
    """Return a function that makes the credential.

    Raises: SettingsError where a token would cross a network unencrypted.
    """
    if connection.is_plain:
        raise SettingsError(f"{connection.endpoint} is not https, so no token is sent there")
    from azure.identity import aio  # noqa: PLC0415 - half a second and 30 MB, only needed with sign-in

    client_id = authentication.client_id
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return lambda: aio.WorkloadIdentityCredential(
            **({"client_id": client_id} if client_id else {})
        )
    if client_id:
        return lambda: aio.ManagedIdentityCredential(client_id=client_id)
    return aio.DefaultAzureCredential


def identity_endpoint(environ: Mapping[str, str]) -> str:
    """Return the address that issues tokens, for the operator's checks and firewall rules."""
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return environ.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com"
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        if address := environ.get(name):
            return address
    return "http://169.254.169.254"  # the machine's metadata service


class Tokens:
    """The current bearer token. `clock` is in seconds since the epoch.

    One task at a time requests a token, within `timeout_seconds`; callers wait for that task.
    A valid token is used until it expires, even if its renewal fails.
    """

    def __init__(
        self,
        make: "Callable[[], AsyncTokenCredential]",
        scope: str,
        clock: Callable[[], float],
        events: Events,
        timeout_seconds: float = TOKEN_SECONDS,
    ) -> None:
        """Prepare, without a request."""
        self._make = make
        self._scope = scope
        self._clock = clock
        self._events = events
        self._timeout_seconds = timeout_seconds
        self._credential: AsyncTokenCredential | None = None
        self._token: AccessToken | None = None
        self._renewal: asyncio.Task[str] | None = None
        self._renew_from = float("-inf")

    async def get(self, refused: str = "") -> str:
        """Return a token other than the `refused` one.

        A token that expires within five minutes is renewed in the background.

        Raises: Unreachable, with the identity platform's message, or for its silence.
        """
        if self._token and self._token.token == refused:
            self._token = None
            await self._close()  # the credential caches tokens, and would return the same again
        now = self._clock()
        if self._token and self._token.expires_on > now:
            if self._token.expires_on - now <= RENEW_AHEAD_SECONDS and now >= self._renew_from:
                self._renew()
            return self._token.token
        return await asyncio.shield(self._renew())

    def _renew(self) -> "asyncio.Task[str]":
        """Request a token, unless a request is running."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._ask(), name="token")
            self._renewal.add_done_callback(self._note)
        return self._renewal

    def _note(self, renewal: "asyncio.Task[str]") -> None:
        """Log a failed renewal while the current token is still valid, when no caller waits for it."""
        if renewal.cancelled() or not (error := renewal.exception()):
            return
        if self._token and self._token.expires_on > self._clock():
            self._renew_from = self._clock() + RENEW_APART_SECONDS
            self._events.happened(NOT_RENEWED, Unreachable.reason, str(error), HINT)

    async def _ask(self) -> str:
        where = identity_endpoint(os.environ)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                self._credential = self._credential or self._make()
                self._token = await self._credential.get_token(self._scope)
        except TimeoutError as error:
            await self._close()
            cause = f"no token from Microsoft Entra ID: {where} did not answer in {self._timeout_seconds:g} s"
            raise Unreachable(cause, HINT_SILENT) from error
        except Exception as error:
            cause = f"no token from Microsoft Entra ID at {where}: {_reason(str(error))}"
            raise Unreachable(cause, HINT) from error
        return self._token.token

    async def _close(self) -> None:
        credential, self._credential = self._credential, None
        if credential:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await credential.close()

    async def close(self) -> None:
        """Stop renewing, and close the connections to the identity platform."""
        if self._renewal and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait({self._renewal}, timeout=CLOSE_SECONDS)
        await self._close()


def _reason(text: str) -> str:
    """Shorten azure-identity's message: put the credentials of servers first.

    Its default chain lists a paragraph for each credential, most of which are for developers.
    """
    _, _, attempts = text.partition("Attempted credentials:")
    lines = re.findall(r"^\s*(\w+Credential): (.+)$", attempts, re.MULTILINE)
    if lines:
        lines.sort(key=lambda line: line[0] not in _OF_SERVERS)
        text = "; ".join(f"{name}: {message}" for name, message in lines)
    return " ".join(text.split())[:REASON_LIMIT]
