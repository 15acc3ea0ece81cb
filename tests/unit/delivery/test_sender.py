"""What delivery does between choosing batches and sending them; the rest is in tests/integration."""

import asyncio
from collections.abc import Callable
from typing import Any

from receiver.azure.verdict import Action
from receiver.delivery.backoff import Backoff
from receiver.delivery.http_client import Answer
from receiver.delivery.sender import Delivery
from receiver.events import Events
from receiver.outbox.batch import Batch, compress
from tests.integration.waiting import in_loop

LINES = [b"{}\n"]
BATCHES = [Batch(number, compress(LINES), 1, 0, 0, "key") for number in range(1, 5)]
ACCEPTED = Answer(200, {}, b'{"itemsReceived":1,"itemsAccepted":1,"errors":[]}')


class Parts:
    """Stands in for committer, transport and pace; `between` is called before each batch goes."""

    def __init__(self, between: Callable[[Delivery], None]) -> None:
        self.seen: list[str] = []
        self.delivery_busy = False
        self.gate = Backoff(lambda: 0.5)
        self.waiting = list(BATCHES)
        changed = asyncio.Event()
        self.delivery = Delivery(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self.gate,
            self,  # type: ignore[arg-type]
            "key",
            4,
            lambda: 0.0,
            Events(),
            changed,
        )
        self._between = between

    async def ask(self, _: object) -> list[Batch]:
        return [each for each in self.waiting if each.id not in self.delivery._under_way]

    async def settle(self, settlement: Any) -> None:
        self.waiting.remove(settlement.batch)
        if not self.waiting:
            self.delivery.stop()

    async def take(self, _: int) -> None:
        self._between(self.delivery)

    async def post(self, _: bytes) -> Answer:
        self.seen.append("sent")
        await asyncio.sleep(0)
        self.seen.append("answered")
        return ACCEPTED


@in_loop()
async def test_none_is_begun_after_the_stop() -> None:
    """Those that were chosen already wait for the next start."""
    parts = Parts(lambda delivery: delivery.stop())
    await parts.delivery.run()
    assert not parts.seen


@in_loop()
async def test_one_goes_alone_when_the_gate_has_closed_and_its_time_is_over() -> None:
    """All were chosen while it was open, and went slowly: that is no leave to try with all."""

    def fail_long_ago(delivery: Delivery) -> None:
        if not parts.seen:
            delivery.gate.failed(Action.RETRY, now - 100, now - 100)

    now = asyncio.get_running_loop().time()
    parts = Parts(fail_long_ago)
    async with asyncio.timeout(5):
        await parts.delivery.run()
    assert parts.seen.count("answered") == 4
    assert parts.seen[:2] == ["sent", "answered"]
