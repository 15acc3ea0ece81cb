"""Bearer tokens of Microsoft Entra ID, for resources that take no bare key.

In: `APPLICATIONINSIGHTS_AUTHENTICATION_STRING`. Out: a token for each POST, renewed
ahead of its end in the background, and at once after the service has refused one. Who we are comes
from the `azure-identity` package: workload identity where
Kubernetes has set it up, the managed identity that ClientId names, else the default
chain. The identity needs the role Monitoring Metrics Publisher on the resource.
"""

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from receiver.azure.connection_string import Connection
from receiver.errors import SettingsError, Unreachable

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken
    from azure.core.credentials_async import AsyncTokenCredential

DEFAULT_AUDIENCE = "https://monitor.azure.com"
RENEW_AHEAD_SECONDS = 300
RENEW_APART_SECONDS = 30.0
"""Between two tries to renew a token that is still good."""
TOKEN_SECONDS = 15.0
"""How long a token may take: less than a POST, which waits for it."""
CLOSE_SECONDS = 1.0
REASON_LIMIT = 1000
_OF_SERVERS = ("ManagedIdentityCredential", "WorkloadIdentityCredential")
SOURCE = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
HINT = (
    "Is an identity assigned to this machine or pod, and is ClientId right? "
    "It needs the role Monitoring Metrics Publisher on the Application Insights resource."
)
HINT_SILENT = (
    "Nothing answers there: is an identity assigned to this machine or pod, and does a firewall or "
    "network policy let the receiver reach that address?"
)

log = structlog.get_logger()


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


def identity_endpoint(environ: Mapping[str, str]) -> str:
    """Name where tokens come from: what an operator can look at, or let through a firewall."""
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return environ.get("AZURE_AUTHORITY_HOST") or "https://login.microsoftonline.com"
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"):
        if address := environ.get(name):
            return address
    return "http://169.254.169.254"  # the machine's own metadata service


class Tokens:
    """Gives the bearer token to send. `clock` is in seconds since the epoch.

    One task at a time asks for a token, within `timeout_seconds`; who needs one waits for
    that task. A token in hand is used to its end, whatever becomes of its renewal.
    """

    def __init__(
        self,
        make: "Callable[[], AsyncTokenCredential]",
        scope: str,
        clock: Callable[[], float],
        timeout_seconds: float = TOKEN_SECONDS,
    ) -> None:
        """Ask for nothing yet."""
        self._make = make
        self._scope = scope
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._credential: AsyncTokenCredential | None = None
        self._token: AccessToken | None = None
        self._renewal: asyncio.Task[str] | None = None
        self._renew_from = float("-inf")

    async def get(self, refused: str = "") -> str:
        """Return a token; not the one that was `refused`.

        One that ends within five minutes is renewed in the background.

        Raises: Unreachable, with what the identity platform said, or that it said nothing.
        """
        if self._token and self._token.token == refused:
            self._token = None
            await self._close()  # it keeps tokens of its own, and would give the same again
        now = self._clock()
        if self._token and self._token.expires_on > now:
            if self._token.expires_on - now <= RENEW_AHEAD_SECONDS and now >= self._renew_from:
                self._renew()
            return self._token.token
        return await asyncio.shield(self._renew())

    def _renew(self) -> "asyncio.Task[str]":
        """Ask for a token, unless that is under way."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._ask(), name="token")
            self._renewal.add_done_callback(self._note)
        return self._renewal

    def _note(self, renewal: "asyncio.Task[str]") -> None:
        """Say that a renewal failed where nobody waits for it: there is a token in hand."""
        if renewal.cancelled() or not (error := renewal.exception()):
            return
        if self._token and self._token.expires_on > self._clock():
            self._renew_from = self._clock() + RENEW_APART_SECONDS
            log.warning("token not renewed", error=str(error), hint=HINT)

    async def _ask(self) -> str:
        where = identity_endpoint(os.environ)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                self._credential = self._credential or self._make()
                self._token = await self._credential.get_token(self._scope)
        except TimeoutError as error:
            await self._close()
            cause = f"no token from Microsoft Entra ID: {where} gave none in {self._timeout_seconds:g} s"
            raise Unreachable(cause, HINT_SILENT) from error
        except Exception as error:
            cause = f"no token from Microsoft Entra ID, asked at {where}: {_reason(str(error))}"
            raise Unreachable(cause, HINT) from error
        return self._token.token

    async def _close(self) -> None:
        credential, self._credential = self._credential, None
        if credential:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await credential.close()

    async def close(self) -> None:
        """Ask no more, and let connections to the identity platform go."""
        if self._renewal and not self._renewal.done():
            self._renewal.cancel()
            await asyncio.wait({self._renewal}, timeout=CLOSE_SECONDS)
        await self._close()


def _reason(text: str) -> str:
    """Shorten what azure-identity says, to what it says of identities that servers have.

    Its default chain tells a paragraph of each kind of credential, most of them a developer's.
    """
    _, _, attempts = text.partition("Attempted credentials:")
    lines = re.findall(r"^\s*(\w+Credential): (.+)$", attempts, re.MULTILINE)
    if lines:
        lines.sort(key=lambda line: line[0] not in _OF_SERVERS)
        text = "; ".join(f"{name}: {said}" for name, said in lines)
    return " ".join(text.split())[:REASON_LIMIT]
