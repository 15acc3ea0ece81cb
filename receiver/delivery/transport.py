"""The POST of a batch to the ingestion service.

In: a gzip body. Out: the service's `Answer`, or `Unreachable` with the reason and a
hint. Follows 307 and 308 as `receiver.azure.redirect` allows. Judges no answer.

The environment sets proxies and certificates: HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.
"""

from collections.abc import Awaitable, Callable, Mapping

from receiver.azure.redirect import LIMIT, Endpoint
from receiver.delivery.causes import explain
from receiver.delivery.http_connection import Answer
from receiver.errors import Unreachable

HEADERS = {
    "Content-Type": "application/x-json-stream",
    "Content-Encoding": "gzip",
    "Accept-Encoding": "identity",  # answers are short; a compressed one is read too
}

Token = Callable[[str], Awaitable[str]]
"""Returns a bearer token other than the refused one (empty: none was refused). Raises: Unreachable."""

Send = Callable[[str, Mapping[str, str], bytes], Awaitable[Answer]]
"""POSTs a body to an address with headers. Raises: OSError, ValueError."""


class Transport:
    """POSTs to one endpoint; safe for many tasks at once."""

    def __init__(
        self,
        send: Send,
        endpoint: Endpoint,
        token: Token | None = None,
    ) -> None:
        """Send with `send`; `token` is for resources with Microsoft Entra ID."""
        self._send = send
        self.endpoint = endpoint
        self.token = token

    async def post(self, body: bytes) -> Answer:
        """Send a batch: follow redirects, and after a 401 retry once with a new token.

        Raises: Unreachable.
        """
        if self.token is None:
            return await self._post_over_redirects(body, HEADERS)
        token = await self.token("")
        answer = await self._post_over_redirects(body, _with_token(token))
        if answer.status == 401:
            token = await self.token(token)
            answer = await self._post_over_redirects(body, _with_token(token))
        return answer

    async def _post_over_redirects(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        for _ in range(1 + LIMIT):
            answer = await self._post_once(self.endpoint.url, body, headers)
            if answer.status not in (307, 308):
                return answer
            location = answer.headers.get("Location", "")
            if not self.endpoint.follow(location, answer.headers.get("Cache-Control", "")):
                self.endpoint.forget()
                raise Unreachable(
                    f"the endpoint redirects to {location or 'nowhere'}, which is not followed",
                    "Items are sent only to the configured host and to Azure's domains: check the connection string.",
                )
        self.endpoint.forget()
        raise Unreachable(f"more than {LIMIT} redirects", "Check the connection string.")

    async def _post_once(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            return await self._send(url, headers, body)
        except (OSError, ValueError) as error:
            raise Unreachable(*explain(error)) from error


def _with_token(token: str) -> Mapping[str, str]:
    return {**HEADERS, "Authorization": f"Bearer {token}"}
