"""Which connection is given up when there are too many, and how long each may take."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest

from receiver.events import Events
from receiver.server.close_reasons import CLOSED
from receiver.server.connection_guard import ConnectionGuard, ConnectionLimits, ConnectionState
from receiver.server.connections import ConnectionCounts, Listener


class Transport(asyncio.Transport):
    """A connection that knows whether it was aborted."""

    def __init__(self, name: str, aborted: list[str]) -> None:
        super().__init__()
        self._name, self._aborted = name, aborted

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take any."""

    def abort(self) -> None:
        self._aborted.append(self._name)


class House:
    """A listener and its connections, by name; `aborted` are those given up, in order."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.events = Events()
        self.listener = Listener(
            asyncio.Protocol, lambda: None, self.limits, ConnectionCounts(), self.events
        )
        self.aborted: list[str] = []

    def connect(self, name: str) -> ConnectionGuard:
        """Let a connection in."""
        loop = asyncio.get_running_loop()
        guard = ConnectionGuard(self.listener, asyncio.Protocol(), loop, self.limits)
        guard.connection_made(Transport(name, self.aborted))
        return guard

    def give_up(self) -> str:
        """Give one up; returns which."""
        return self.aborted[-1] if self.listener._give_up_one() else "none"


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a loop of its own."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 20))

    return run


@in_loop
async def test_who_waits_longest_for_the_least_is_given_up_first() -> None:
    """Headers, idle, an unread answer, a body: each the oldest first; one at work never."""
    house = House()
    at_work = house.connect("work")
    at_work.begin_body()
    at_work.begin_work()
    for name in ("body 1", "body 2"):
        house.connect(name).begin_body()
    for name in ("answer 1", "answer 2"):
        guard = house.connect(name)
        guard.begin_body()
        guard.begin_answer()
    for name in ("idle 1", "idle 2"):
        house.connect(name).done()
    for name in ("headers 1", "headers 2"):
        house.connect(name)
    order = [f"{state} {n}" for state in ("headers", "idle", "answer", "body") for n in (1, 2)]
    assert [house.give_up() for _ in order] == order
    assert house.give_up() == "none"
    assert house.events.counts(CLOSED) == {"crowded_out": len(order)}


@in_loop
async def test_a_handshake_goes_after_headers_and_before_the_idle() -> None:
    """It has shown less than one that has spoken HTTP."""
    house = House()
    house.connect("idle").done()
    handshake = asyncio.create_task(asyncio.Event().wait())
    house.listener._handshakes[handshake] = None  # type: ignore[index]
    house.connect("headers")
    assert house.give_up() == "headers"
    house.listener._give_up_one()
    await asyncio.sleep(0)
    assert handshake.cancelled()
    assert house.give_up() == "idle"


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (lambda _: None, "headers_late"),
        (lambda guard: guard.done(), "idle"),
        (lambda guard: guard.begin_answer(), "answer_late"),
        (lambda guard: (guard.done(), guard.data_received(b"G")), "headers_late"),
    ],
)
@in_loop
async def test_each_state_has_its_clock(
    begin: Callable[[ConnectionGuard], object], reason: str
) -> None:
    """The connection is closed when it is over, and counted by its reason."""
    house = House(ConnectionLimits(10, 0.01, 0.01, 0.01))
    guard = house.connect("it")
    begin(guard)
    while not house.aborted:
        await asyncio.sleep(0.001)
    assert house.events.counts(CLOSED) == {reason: 1}


@in_loop
async def test_a_request_at_work_has_no_clock() -> None:
    """Its body is here: what it takes from now on is ours."""
    house = House(ConnectionLimits(10, 0.0, 0.0, 0.0))
    guard = house.connect("it")
    guard.begin_work()
    await asyncio.sleep(0.01)
    assert house.aborted == []
    assert set(ConnectionState) == {
        ConnectionState.HEADERS,
        ConnectionState.IDLE,
        ConnectionState.ANSWER,
        ConnectionState.BODY,
        ConnectionState.WORK,
    }
