"""The status page and the JSON API: what is read from a request, and what a failing part is answered."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from receiver.config.followed_file import ReloadState
from receiver.errors import NotCommitted
from receiver.server.app import Pages
from receiver.status.diagnosis import Diagnosis, Finding
from receiver.status.document import About
from receiver.status.monitor import Wanted
from receiver.status.pages import (
    LARGEST_LIMIT,
    MATCH_LIMIT,
    TAP_BYTES,
    TAP_LIMIT,
    make_pages,
    matcher,
)
from receiver.status.recent_metrics import Tapped
from receiver.status.verdicts import State
from tests.integration.waiting import in_loop

Client = TestClient[web.Request, web.Application]


class FakeMonitor:
    """Answers what a test says, and keeps what it is asked."""

    def __init__(self) -> None:
        self.snapshot = SimpleNamespace(outbox_failing=False, outbox=SimpleNamespace(full=""))
        self.findings: tuple[Finding, ...] = (Finding(State.OK, "fine"),)
        self.disk_fails = False
        self.limits: list[int] = []
        self.wanted: list[Wanted] = []
        self.after: list[float] = []
        self.retried: list[str] = []
        self.was_waiting: bool | None = True
        self.tap: list[Tapped] = []
        self.history = self.sampling = self

    async def view(self) -> Any:
        if self.disk_fails:
            raise NotCommitted("the disk fails")
        return SimpleNamespace(snapshot=self.snapshot, diagnosis=Diagnosis(self.findings))

    def series(self, name: str, limit: int) -> Any:
        self.limits.append(limit)
        return {"name": name}

    async def dead_letters(self, limit: int) -> Any:
        self.limits.append(limit)
        if self.disk_fails:
            raise NotCommitted("the disk fails")
        return {"items": []}

    def metrics(self, wanted: Wanted) -> Any:
        self.wanted.append(wanted)
        return {"metrics": []}

    def columns(self, after: float) -> Any:
        self.after.append(after)
        return {"points": []}

    def tapped(self, after: int) -> Iterator[Tapped]:
        return (tapped for tapped in self.tap if tapped.number > after)

    def retry_now(self, route: str) -> bool | None:
        self.retried.append(route)
        return self.was_waiting


class FakeWatch:
    """Files whose check has a result that a test says."""

    def __init__(self) -> None:
        self.state = ReloadState()

    async def asked(self) -> ReloadState:
        return self.state


def pages_of(monitor: FakeMonitor, watch: FakeWatch | None = None) -> Pages:
    monitor_, watch_ = monitor, watch or FakeWatch()
    return make_pages(monitor_, watch_, About("host", "", ""))  # type: ignore[arg-type]


@asynccontextmanager
async def serving(monitor: FakeMonitor, watch: FakeWatch | None = None) -> AsyncIterator[Client]:
    """Serve the page's routes on loopback."""
    application = web.Application()
    application.add_routes(pages_of(monitor, watch).routes)
    async with TestClient(TestServer(application)) as client:
        yield client


async def get(client: Client, path: str, status: int = 200) -> Any:
    async with client.get(path) as response:
        assert response.status == status, await response.text()
        if response.content_type != "application/json":
            return await response.text()
        assert response.headers.get("Cache-Control") == "no-store" or status == 503
        return await response.json()


async def post(client: Client, path: str) -> tuple[int, str]:
    async with client.post(path) as response:
        return response.status, await response.text()


def test_a_match_is_a_glob_or_words() -> None:
    """Of any case."""
    assert matcher("NV_*_irate")("nv_a_irate")
    assert not matcher("nv_?")("nv_ab")
    assert matcher("gpu power")("nv_gpu_power_usage")
    assert not matcher("gpu power")("nv_gpu_memory")
    assert matcher("  ")("nv_any")


def test_a_match_is_short() -> None:
    """One of thousands of stars would hold everything else up while it is compiled."""
    assert matcher("*a" * (MATCH_LIMIT // 2))("aaa") is False
    with pytest.raises(web.HTTPBadRequest):
        matcher("*a" * MATCH_LIMIT)


@in_loop()
async def test_a_limit_has_a_default_and_a_bound() -> None:
    """Of series and of dead letters."""
    monitor = FakeMonitor()
    async with serving(monitor) as client:
        assert await get(client, "/api/v1/series?name=nv_a") == {"name": "nv_a"}
        for path in (
            "series?limit=7",
            "series?limit=99999999",
            "dead-letters",
            "dead-letters?limit=0",
        ):
            await get(client, f"/api/v1/{path}")
    assert monitor.limits == [200, 7, LARGEST_LIMIT, 200, 0]


@pytest.mark.parametrize("number", ["x", "-1", "nan", "inf", "1e15", "%0A" * 100])
@pytest.mark.parametrize("path", ["series?limit=", "dead-letters?limit=", "metrics?limit=", "history?after=", "tap?after="])  # fmt: skip
@in_loop()
async def test_what_is_no_number_is_refused(path: str, number: str) -> None:
    """With its name and its text, in one short line."""
    monitor = FakeMonitor()
    async with serving(monitor) as client:
        text = await get(client, f"/api/v1/{path}{number}", 400)
    assert "is not a number of at least 0" in text
    assert text.count("\n") == 1
    assert len(text) < 300
    assert not monitor.limits


@in_loop()
async def test_the_table_of_metrics_is_filtered_as_the_query_says() -> None:
    """By words, in total or by category, without some categories."""
    monitor = FakeMonitor()
    async with serving(monitor) as client:
        await get(client, "/api/v1/metrics")
        await get(client, "/api/v1/metrics?match=gpu&limit=3&each=category&without=a&without=b")
        await get(client, f"/api/v1/metrics?match={'*' * (MATCH_LIMIT + 1)}", 400)
    first, second = monitor.wanted
    assert (first.limit, first.each_category, first.without) == (200, False, frozenset())
    assert first.fits("nv_any")
    assert (second.limit, second.each_category, second.without) == (3, True, frozenset("ab"))
    assert second.fits("nv_gpu_use")
    assert not second.fits("nv_cpu")


@in_loop()
async def test_the_history_after_a_time() -> None:
    """All of it without one."""
    monitor = FakeMonitor()
    async with serving(monitor) as client:
        await get(client, "/api/v1/history")
        await get(client, "/api/v1/history?after=12.5")
    assert monitor.after == [0, 12.5]


@in_loop()
async def test_dead_letters_of_a_disk_that_fails_are_an_error() -> None:
    """503, with the disk's message: the page shows it."""
    monitor = FakeMonitor()
    monitor.disk_fails = True
    async with serving(monitor) as client:
        assert await get(client, "/api/v1/dead-letters", 503) == {"error": "the disk fails"}


def tapped(number: int, name: str = "nv_a", label_bytes: int = 0) -> Tapped:
    return Tapped(number, name, {"a": "x" * label_bytes}, 1_700_000_000_000, float(number))


@in_loop()
async def test_the_tap_continues_where_the_last_answer_ended() -> None:
    """`after` passes what does not match too, so that nothing is looked at twice."""
    monitor = FakeMonitor()
    monitor.tap = [tapped(1), tapped(2, "nv_b"), tapped(3), tapped(4, "nv_b")]
    async with serving(monitor) as client:
        answer = await get(client, "/api/v1/tap?match=nv_a")
        assert [item["value"] for item in answer["items"]] == [1.0, 3.0]
        assert answer["after"] == 4
        assert await get(client, "/api/v1/tap?after=4") == {"after": 4, "items": []}


@pytest.mark.parametrize(
    ("count", "label_bytes", "shown"),
    [(TAP_LIMIT + 1, 0, TAP_LIMIT), (3, TAP_BYTES // 2, 1), (2, 2 * TAP_BYTES, 1)],
)
@in_loop()
async def test_an_answer_of_the_tap_is_bounded(count: int, label_bytes: int, shown: int) -> None:
    """In items and in bytes, but it has one at least; the rest comes with the next."""
    monitor = FakeMonitor()
    monitor.tap = [tapped(number, "nv_a", label_bytes) for number in range(1, count + 1)]
    async with serving(monitor) as client:
        first = await get(client, "/api/v1/tap")
        assert len(first["items"]) == first["after"] == shown
        second = await get(client, f"/api/v1/tap?after={shown}")
        assert second["items"][0]["value"] == shown + 1


@pytest.mark.parametrize(
    ("was_waiting", "words"),
    [(True, "Delivery is retried now.\n"), (False, "Delivery was not waiting.\n")],
    ids=["waiting", "not waiting"],
)
@in_loop()
async def test_a_retry_is_at_most_once_a_second(was_waiting: bool, words: str) -> None:  # noqa: FBT001
    """The second answer says so, and nothing is retried."""
    monitor = FakeMonitor()
    monitor.was_waiting = was_waiting
    async with serving(monitor) as client:
        assert await post(client, "/-/retry?route=a") == (200, words)
        assert await post(client, "/-/retry") == (200, "Delivery was just retried.\n")
    assert monitor.retried == ["a"]


@in_loop()
async def test_a_retry_of_a_route_that_is_not_there() -> None:
    """404, in one line; the next may come at once."""
    monitor = FakeMonitor()
    monitor.was_waiting = None
    async with serving(monitor) as client:
        status, text = await post(client, "/-/retry?route=a%0Ab")
        assert (status, text.count("\n")) == (404, 1)
        assert (await post(client, "/-/retry"))[0] == 404
    assert monitor.retried == ["a\nb", ""]


@in_loop()
async def test_a_reload_is_answered_by_its_result() -> None:
    """422 with the mistake, in one line."""
    watch = FakeWatch()
    async with serving(FakeMonitor(), watch) as client:
        assert await post(client, "/-/reload") == (200, "The files on disk are in force.\n")
        watch.state = ReloadState(successful=False, error="metrics.json: line 1\nis wrong")
        status, text = await post(client, "/-/reload")
        assert status == 422
        assert text.startswith("metrics.json: line 1")
        assert text.endswith("The previous version stays in force.\n")
        assert text.count("\n") == 1


@in_loop()
async def test_the_page_and_the_runbook_run_nothing_but_their_own() -> None:
    """No source but themselves; the page's script is allowed by its hash alone, the runbook has none."""
    async with serving(FakeMonitor()) as client:
        for path, scripts in (("/", 1), ("/runbook", 0)):
            async with client.get(path) as response:
                policy = response.headers["Content-Security-Policy"]
                text = await response.text()
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert policy.count("script-src 'sha256-") == text.count("<script") == scripts
            assert response.headers["X-Content-Type-Options"] == "nosniff"


def full(monitor: FakeMonitor) -> None:
    monitor.snapshot.outbox.full = "the outbox is full"


def failing(monitor: FakeMonitor) -> None:
    monitor.snapshot.outbox_failing = True


@pytest.mark.parametrize("change", [full, failing])
@in_loop()
async def test_a_receiver_that_can_keep_nothing_is_not_ready(
    change: Callable[[FakeMonitor], None],
) -> None:
    """With the verdict, what else is wrong, and the hint; a failing Azure alone leaves it ready."""
    monitor = FakeMonitor()
    ready = pages_of(monitor).ready
    monitor.findings = (
        Finding(State.DISK, "it fails", "Free space."),
        Finding(State.BLOCKED, "403", "Look at the portal."),
    )
    assert await ready() == ""
    change(monitor)
    assert await ready() == "DISK: it fails. BLOCKED: 403. Free space."


@in_loop()
async def test_a_receiver_whose_disk_cannot_be_read_is_not_ready() -> None:
    """From the start: there is no snapshot yet."""
    monitor = FakeMonitor()
    monitor.disk_fails = True
    assert await pages_of(monitor).ready() == "the disk fails"
