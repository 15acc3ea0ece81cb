"""One connection's clock, on a loop whose time jumps; what is not the clock's is handed on."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from receiver.server.connection_guard import (
    WRITE_BUFFER_BYTES,
    ConnectionGuard,
    ConnectionLimits,
    ConnectionState,
)
from tests.unit.delivery.jumping import run

LIMITS = ConnectionLimits(5, headers_seconds=10.0, idle_seconds=120.0, answer_seconds=30.0)


class Line(asyncio.Transport):
    """A connection that counts how often it was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.aborts = 0
        self.high: int | None = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del low
        self.high = high

    def abort(self) -> None:
        self.aborts += 1


class Inner(asyncio.Protocol):
    """What aiohttp would be: it notes what is handed on."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append(transport)

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool | None:
        self.calls.append("eof")
        return True

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc)


class Desk:
    """A guard, and the register that it tells of itself."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.line, self.inner = Line(), Inner()
        self.noted: list[tuple[float, str]] = []
        self.moves: list[tuple[ConnectionState | None, ConnectionState | None]] = []
        self.known: list[asyncio.BaseTransport] = []
        self.guards: set[ConnectionGuard] = set()
        self.guard = ConnectionGuard(self, self.inner, self.loop, LIMITS)
        self.guard.connection_made(self.line)

    def note(self, reason: str, error: Exception | None = None) -> None:
        assert error is None
        self.noted.append((self.loop.time() - self.began, reason))

    def entered(self, guard: ConnectionGuard, transport: asyncio.BaseTransport) -> None:
        assert not self.moves, "it is known before it moves"
        self.guards = {guard}
        self.known.append(transport)

    def moved(
        self, guard: ConnectionGuard, old: ConnectionState | None, new: ConnectionState | None
    ) -> None:
        assert {guard} == self.guards
        self.moves.append((old, new))

    def left(self, transport: asyncio.BaseTransport) -> None:
        self.known.remove(transport)


def jumping(test: Callable[[Desk], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on jumping time."""

    def on_jumping_time() -> None:
        failed: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what))
            await test(Desk())

        run(main())
        assert not failed, "a timer's call raised"

    on_jumping_time.__doc__ = test.__doc__
    return on_jumping_time


@jumping
async def test_all_that_happens_is_handed_on(desk: Desk) -> None:
    """In its order, with what the protocol answers."""
    desk.guard.data_received(b"GET")
    assert desk.guard.eof_received() is True
    desk.guard.pause_writing()
    desk.guard.resume_writing()
    assert desk.known == [desk.line]
    error = ConnectionResetError()
    desk.guard.connection_lost(error)
    assert desk.inner.calls == [desk.line, b"GET", "eof", "pause", "resume", error]
    assert desk.known == []
    assert desk.line.high == WRITE_BUFFER_BYTES == 64 << 10


@jumping
async def test_a_request_from_its_first_byte_to_its_answer(desk: Desk) -> None:
    """The register hears of each state, once."""
    desk.guard.data_received(b"POST")
    desk.guard.begin_body()
    desk.guard.data_received(b"body")
    desk.guard.begin_work()
    desk.guard.begin_answer()
    desk.guard.done()
    desk.guard.data_received(b"G")
    desk.guard.data_received(b"ET")
    desk.guard.connection_lost(None)
    states = [None, ConnectionState.HEADERS, ConnectionState.BODY, ConnectionState.WORK, ConnectionState.ANSWER, ConnectionState.IDLE, ConnectionState.HEADERS, None]  # fmt: skip
    assert desk.moves == list(pairwise(states))


@pytest.mark.parametrize("pause", [1.0, 9.0])
def test_headers_that_drip_in_get_no_more_time(pause: float) -> None:
    """Ten seconds in all, however often a byte comes."""

    @jumping
    async def test(desk: Desk) -> None:
        for _ in range(20):
            if not desk.line.aborts:
                desk.guard.data_received(b"X")
            await asyncio.sleep(pause)
        assert desk.noted == [(10.0, "headers_late")]
        assert desk.line.aborts == 1

    test()


@jumping
async def test_each_state_begins_its_own_time(desk: Desk) -> None:
    """And ends the one before: of a body and of work the time is others' to bound."""
    await asyncio.sleep(9)
    desk.guard.begin_body()
    await asyncio.sleep(500)
    desk.guard.begin_work()
    await asyncio.sleep(500)
    desk.guard.begin_answer()
    await asyncio.sleep(29)
    desk.guard.done()
    await asyncio.sleep(119)
    desk.guard.data_received(b"G")
    await asyncio.sleep(9)
    assert desk.noted == []
    await asyncio.sleep(2)
    assert [reason for _, reason in desk.noted] == ["headers_late"]


@jumping
async def test_one_timer_serves_many_requests(desk: Desk) -> None:
    """Arming one for each of a request's states would cost more than the states do."""
    call_at, armed = desk.loop.call_at, []

    def count(when: float, *given: Any, **more: Any) -> asyncio.TimerHandle:
        armed.append(when)
        return call_at(when, *given, **more)

    desk.loop.call_at = count  # type: ignore[method-assign, assignment]
    for _ in range(100):
        desk.guard.data_received(b"POST")
        desk.guard.begin_body()
        desk.guard.begin_work()
        desk.guard.done()
    assert armed == []
    await asyncio.sleep(119)
    assert desk.noted == []
    await asyncio.sleep(2)
    assert desk.noted == [(120.0, "idle")]


@pytest.mark.parametrize(
    ("begin", "seconds", "reason"),
    [(lambda guard: guard.begin_answer(), 30.0, "answer_late"), (lambda guard: guard.done(), 120.0, "idle")],
)  # fmt: skip
def test_a_time_that_is_over_closes(
    begin: Callable[[ConnectionGuard], None], seconds: float, reason: str
) -> None:
    """To the second, once."""

    @jumping
    async def test(desk: Desk) -> None:
        begin(desk.guard)
        await asyncio.sleep(1000)
        assert desk.noted == [(seconds, reason)]
        assert desk.line.aborts == 1
        assert desk.moves[-1][1] is None

    test()


@jumping
async def test_after_its_end_nothing_begins(desk: Desk) -> None:
    """The answer of one that was given up is done later; one that was closed has no clock."""
    desk.guard.begin_body()
    desk.guard.abort("crowded_out")
    moves = len(desk.moves)
    desk.guard.done()
    assert len(desk.moves) == moves
    desk.guard.connection_lost(None)
    other = Desk()
    other.guard.connection_lost(None)
    await asyncio.sleep(1000)
    assert [reason for _, reason in desk.noted] == ["crowded_out"]
    assert other.noted == []
    assert (desk.line.aborts, other.line.aborts) == (1, 0)


def test_the_usual_times() -> None:
    """Nobody sets these but the number of connections."""
    assert ConnectionLimits() == ConnectionLimits(512, 10.0, 120.0, 30.0)
    limits = ConnectionLimits()
    assert [limits.of(state) for state in ConnectionState] == [
        (10.0, "headers_late"),
        (120.0, "idle"),
        (30.0, "answer_late"),
        None,
        None,
    ]
