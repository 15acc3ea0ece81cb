"""The interface of delivery to Application Insights: bodies and verdicts. Pure.

In: batches as the outbox keeps them, and answers. Out: bodies to POST, and verdicts.
`receiver.azure.envelope` is the counterpart for rendering.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from receiver.azure.verdict import Verdict, judge
from receiver.outbox.gzip_body import compress, unpack


@dataclass(frozen=True, slots=True)
class Destination:
    """A resource: its key, and whether requests carry a token of Microsoft Entra ID."""

    instrumentation_key: str
    signed_in: bool = False

    def body_for(self, body: bytes, rendered_key: str) -> bytes:
        """Return a batch's body with this resource's key. Raises: Damaged."""
        if rendered_key == self.instrumentation_key:
            return body
        old = f'"iKey":"{rendered_key}"'.encode()
        new = f'"iKey":"{self.instrumentation_key}"'.encode()
        return compress([line.replace(old, new, 1) for line in unpack(body)])

    def judge(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        item_count: int,
        now: float,
        address: str,
    ) -> Verdict:
        """Return the service's verdict on the items of a batch. `now` is in seconds since the epoch."""
        return judge(
            status, headers, body, item_count, now, address=address, signed_in=self.signed_in
        )
