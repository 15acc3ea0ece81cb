"""The handover's HTTP interface: what is read from a request, and the order of the answers."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from receiver.errors import NotCommitted
from receiver.fold.takeover import Held, Taken
from receiver.server.handover import SERIES_MAX, Handover
from tests.integration.waiting import in_loop

NOW = 1_800_000_000.0


class Receiver:
    """Stands in for the committer, its outbox and the folder: series `c` is folded, and has a number by its label `n`."""

    def __init__(self) -> None:
        self.disk_fails = False
        self.after: list[tuple[int, int]] = []
        self.rows: list[tuple[int, bytes]] = []
        self.given: list[Any] = []
        self.newer: set[int] = set()
        self.registry = self

    def folds(self, name: str) -> bool:
        return name == "c"

    def number_of(self, labels: Mapping[str, str]) -> int:
        return int(labels["n"])

    async def ask(self, query: Callable[[Any], Any]) -> Any:
        if self.disk_fails:
            raise NotCommitted("the disk fails")
        return query(self)

    async def change_fold(self, change: Callable[[], Any]) -> Any:
        if self.disk_fails:
            raise NotCommitted("the disk fails")
        return change()

    def folded_series(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        self.after.append((after, limit))
        return self.rows

    def held(self, rows: Sequence[tuple[int, bytes]]) -> list[tuple[Held, bytes]]:
        return [(Held(number, 1000 * number, 0.5), labels) for number, labels in rows[1:]]

    def take_over(self, given: Sequence[Held], now_ms: int) -> list[Taken]:
        self.given.append((list(given), now_ms))
        return [Taken.TAKEN if held.number % 2 else Taken.OVERLAPS for held in given]

    def release(self, given: Sequence[tuple[int, int]], now_ms: int) -> set[int]:
        self.given.append((list(given), now_ms))
        return self.newer


@asynccontextmanager
async def serving(
    receiver: Receiver,
) -> AsyncIterator[Callable[..., Any]]:
    """Serve it on loopback; gives a function that asks, and returns the status and the document."""
    stands_in: Any = receiver
    handler: Any = SimpleNamespace(pipeline=SimpleNamespace(allowlist=receiver))
    application = web.Application()
    application.add_routes(Handover(stands_in, stands_in, handler, lambda: NOW).routes())
    async with TestClient(TestServer(application)) as client:

        async def ask(path: str, body: Any = None, data: bytes | None = None) -> tuple[int, Any]:
            method = "GET" if body is None and data is None else "POST"
            async with client.request(
                method, f"/api/v1/fold/{path}", json=body, data=data
            ) as response:
                is_json = response.content_type == "application/json"
                return response.status, await (response.json() if is_json else response.text())

        yield ask


def one(number: int, **changes: Any) -> dict[str, Any]:
    return {"labels": {"__name__": "c", "n": str(number)}, "time_ms": 1000, "value": 2.5} | changes


@in_loop()
async def test_series_are_listed_with_their_last_samples() -> None:
    """`after` is the last number that was looked at, with a last sample or without."""
    receiver = Receiver()
    receiver.rows = [(7, b'{"n":"7"}'), (9, b'{"n":"9"}')]
    async with serving(receiver) as ask:
        status, listed = await ask("series?after=6")
        receiver.rows = []
        assert await ask("series") == (200, {"after": None, "series": []})
    assert status == 200
    assert listed == {
        "after": 9,
        "series": [{"number": 9, "labels": {"n": "9"}, "time_ms": 9000, "value": 0.5}],
    }
    assert receiver.after == [(6, SERIES_MAX), (0, SERIES_MAX)]


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "1" * 16])
@in_loop()
async def test_what_is_no_number_is_refused(after: str) -> None:
    """400, and nothing is read."""
    receiver = Receiver()
    async with serving(receiver) as ask:
        status, text = await ask(f"series?after={after}")
    assert (status, text) == (400, "after is not a whole number of at least 0\n")
    assert not receiver.after


@in_loop()
async def test_each_series_that_is_taken_over_has_its_outcome_in_order() -> None:
    """Those that are not folded, and those without room, are not asked for."""
    receiver = Receiver()
    other = one(5, labels={"__name__": "other", "n": "5"})
    async with serving(receiver) as ask:
        answer = await ask("take", {"series": [other, one(1), one(0), one(2), one(3)]})
    assert answer == (200, {"outcomes": ["not_folded", "taken", "no_room", "overlaps", "taken"]})
    [(given, now_ms)] = receiver.given
    assert given == [Held(number, 1000, 2.5) for number in (1, 2, 3)]
    assert now_ms == NOW * 1000


@in_loop()
async def test_series_that_are_released_are_answered_with_those_that_stay() -> None:
    """Sorted, since a set has no order in JSON."""
    receiver = Receiver()
    receiver.newer = {9, 3}
    async with serving(receiver) as ask:
        assert await ask("release", {"series": [[9, 1000], [3, 2000]]}) == (200, {"newer": [3, 9]})
    assert receiver.given == [([(9, 1000), (3, 2000)], NOW * 1000)]


INVALID = {
    "no series": {},
    "no object": [],
    "no list": {"series": {}},
    "too many": {"series": [0] * (SERIES_MAX + 1)},
    "no labels": {"series": [{"time_ms": 1, "value": 1}]},
    "no name": {"series": [one(1, labels={"n": "1"})]},
    "labels that are no texts": {"series": [one(1, labels={"__name__": "c", "n": 1})]},
    "a time that is none": {"series": [one(1, time_ms="x")]},
    "a time beyond 62 bits": {"series": [one(1, time_ms=1e30)]},
    "a value that is none": {"series": [one(1, value=None)]},
}


@pytest.mark.parametrize("path", ["take", "release"])
@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
@in_loop()
async def test_an_invalid_request_changes_nothing(path: str, body: Any) -> None:
    """400 with the reason, of any series in it."""
    receiver = Receiver()
    async with serving(receiver) as ask:
        status, answer = await ask(path, body)
    assert status == 400
    assert answer["error"]
    assert not receiver.given


@in_loop()
async def test_what_is_no_json_is_refused() -> None:
    """400, with the parser's words."""
    async with serving(Receiver()) as ask:
        status, answer = await ask("take", data=b"{")
    assert status == 400
    assert answer["error"].startswith("invalid request: ")


@in_loop()
async def test_a_disk_that_fails_is_503_everywhere() -> None:
    """The verb comes again: each step can be repeated."""
    receiver = Receiver()
    receiver.disk_fails = True
    refused = 503, {"error": "the disk fails"}
    async with serving(receiver) as ask:
        assert await ask("series") == refused
        assert await ask("take", {"series": [one(1)]}) == refused
        assert await ask("release", {"series": [[1, 1000]]}) == refused
