"""What any request is checked for, and what pages are answered."""

from types import SimpleNamespace

import pytest

from receiver import cross_origin
from receiver.errors import (
    WRITE_PATH,
    ForeignPage,
    NotCommitted,
    Unauthorized,
)
from receiver.server.answers import SMALL_BYTES
from receiver.server.app import _certificate
from receiver.server.refusals import PAGE_REFUSED, REFUSED
from tests.integration.waiting import in_loop, until
from tests.unit.server.bench import BODY, MIB, NOW, WRITE, Bench, raising, serving, text_of


def test_a_client_s_certificate_is_that_of_its_connection() -> None:
    """None without TLS, and where the connection has gone."""
    shown = {"subject": ()}
    for certificate in (shown, None):
        transport = SimpleNamespace(get_extra_info={"peercert": certificate}.get)
        assert _certificate(SimpleNamespace(transport=transport)) is certificate  # type: ignore[arg-type]
    assert _certificate(SimpleNamespace(transport=None)) is None  # type: ignore[arg-type]


@in_loop()
async def test_a_large_page_is_made_once_for_all_who_read_it_now() -> None:
    """Another page is another; at the limit none is made."""
    size = 16 << 20
    bench = Bench(answers_bytes=2 * size)
    made: list[int] = []

    def page() -> bytes:
        made.append(1)
        return bytes(size)

    bench.page = page
    async with serving(bench) as client:
        readers = [await client.get("/metrics") for _ in range(2)]
        assert len(made) == 1
        readers.append(await client.get("/metrics?other"))
        assert len(made) == 2
        refused = await client.get("/metrics?third")
        assert "answers that are being read" in await text_of(refused, 503)
        assert len(made) == 2
        assert {len(await reader.read()) for reader in readers} == {size}
        for reader in readers:
            assert reader.headers["Content-Type"].startswith("text/plain; version=")
            assert reader.headers.getall("Content-Length") == [str(size)]
            assert len(reader.headers.getall("Date")) == 1
        await until(lambda: not bench.app._answers.size_bytes, "the end")
        await (await client.get("/metrics?third")).read()
        assert len(made) == 3


@in_loop()
async def test_credentials_are_asked_for_but_for_health() -> None:
    """A browser's first question is no event; a sender's is."""
    bench = Bench()
    bench.refuses = Unauthorized("no credentials")
    async with serving(bench) as client:
        for path in ("/-/healthy", "/-/ready"):
            await text_of(await client.get(path), 200)
        assert bench.asked == []
        for path in ("/metrics", "/api/v1/status"):
            response = await client.get(path)
            assert await text_of(response, 401) == "Unauthorized\n"
            assert response.headers["WWW-Authenticate"] == 'Basic realm="x"'
        assert bench.events.latest() == []
        await client.get("/metrics", headers={"Authorization": "Basic eA=="})
        assert bench.events.counts(PAGE_REFUSED) == {"unauthorized": 1}
        assert not bench.counts.replies
        await text_of(await client.post(WRITE_PATH, data=BODY, headers=WRITE), 401)
    assert bench.asked == ["", "", "Basic eA==", ""]
    assert bench.events.counts(REFUSED) == {"unauthorized": 1}
    assert bench.counts.replies == {"401": 1}
    assert bench.counts.last_request_at == NOW
    assert not bench.bodies


@in_loop()
async def test_on_loopback_a_foreign_name_is_refused_where_nothing_else_is_asked() -> None:
    """Who has credentials may use any name."""
    bench = Bench(own_names=("ours",))
    async with serving(bench) as client:
        foreign = {"Host": "evil.example"}
        await text_of(await client.get("/metrics", headers=foreign), 403)
        await text_of(await client.get("/metrics", headers={"Host": "ours"}), 200)
        assert bench.events.counts(PAGE_REFUSED) == {ForeignPage.reason: 1}
        bench.rules.ask_nothing = False
        await text_of(await client.get("/metrics", headers=foreign), 200)
        await text_of(await client.post("/-/reload", headers={"Origin": "http://evil.example"}), 403)  # fmt: skip
        assert await text_of(await client.post("/-/reload"), 200) == "reloaded"
        await text_of(await client.get("/metrics", headers={"Origin": "http://evil.example"}), 200)


@in_loop()
async def test_a_write_to_a_wrong_path_is_answered_with_the_right_one() -> None:
    """Whatever tells that it is one; others get what any server says."""
    bench = Bench()
    async with serving(bench) as client:
        right = str(client.make_url(WRITE_PATH))
        for headers in (
            {"X-Prometheus-Remote-Write-Version": "2.0.0"},
            {"Content-Encoding": "SNAPPY"},
            {"Content-Type": "application/x-protobuf"},
            {"User-Agent": "Grafana Agent"},
        ):
            response = await client.post("/write?token=x", data=BODY, headers=headers)
            said = await text_of(response, 404)
            asked = client.make_url("/write")  # without the query, which may be secret
            assert said.startswith(f"POST {asked} takes no writes: the url is {right}. ")
        assert bench.events.counts(REFUSED) == {"wrong_address": 4}
        assert bench.counts.replies == {"404": 4}
        moved = await client.get(WRITE_PATH, headers={"Content-Encoding": "snappy"})
        assert f"remote-write is POST {right}" in await text_of(moved, 405)
        assert moved.headers["Allow"] == "POST"
        put = await client.put(WRITE_PATH, data=BODY, headers={"User-Agent": "vmagent"})
        assert f"PUT {right} cannot write: remote-write is POST {right}" in await text_of(put, 405)
        assert bench.events.counts(REFUSED) == {"wrong_address": 4, "wrong_method": 2}

        browser = await client.get(WRITE_PATH, headers={"User-Agent": "prometheus"})
        assert "prometheus.yml" in await text_of(browser, 405)
        assert browser.headers["Allow"] == "POST"
        assert (await client.head(WRITE_PATH)).status == 405
        for response in (await client.post("/write", data=BODY), await client.get("/other")):
            assert "api/v1/write" not in await text_of(response, 404)
        assert bench.events.counts(REFUSED).total() == 6
        assert not bench.events.counts(PAGE_REFUSED)
        assert bench.counts.replies.total() == 6


@in_loop()
async def test_the_pages() -> None:
    """With the type that each is of; 503 while the outbox cannot be read."""
    bench = Bench()
    async with serving(bench) as client:
        for path, kind in (("/metrics", "text/plain"), ("/api/v1/status", "application/json")):
            response = await client.get(path)
            assert await text_of(response, 200) == "a page"
            assert response.headers["Content-Type"].startswith(kind)
        bench.page = raising(NotCommitted("not now"))
        assert await text_of(await client.get("/metrics"), 503) == "not now\n"
        response = await client.get("/api/v1/status")
        assert (response.status, await response.json()) == (503, {"error": "not now"})
        bench.problem = "a disk"
        assert await text_of(await client.get("/-/ready"), 503) == "a disk\n"
        bench.page = raising(MemoryError())
        response = await client.get("/metrics")
        assert "memory ran out" in await text_of(response, 503)
        assert bench.events.counts(PAGE_REFUSED) == {"memory_short": 1}


@in_loop()
async def test_a_page_is_not_made_where_memory_is_short() -> None:
    """It takes eight MiB at most, beside the reserve."""
    bench = Bench()
    bench.page = lambda: pytest.fail("it is made")
    bench.used_bytes = (100 - 16 - 7) * MIB
    async with serving(bench) as client:
        assert "this request may need 8 MiB" in await text_of(await client.get("/metrics"), 503)
        bench.used_bytes -= MIB
        bench.page = lambda: b"a page"
        await text_of(await client.get("/metrics"), 200)


@in_loop()
async def test_the_connection_s_guard_hears_of_each_step() -> None:
    """Of a write, of a small page, of a large one, of a refusal."""
    bench = Bench()
    bench.has_guard = True
    async with serving(bench) as client:
        await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert bench.told == ["body", "work", "done"]
        bench.told.clear()
        await client.get("/metrics")
        assert bench.told == ["body", "done"]
        bench.told.clear()
        bench.page = lambda: b"x" * (SMALL_BYTES + 1)
        assert len(await text_of(await client.get("/metrics"), 200)) == SMALL_BYTES + 1
        await until(lambda: len(bench.told) == 3, "the end of it")
        assert bench.told == ["body", "answer", "done"]
        bench.told.clear()
        bench.refuses = Unauthorized("no")
        await client.get("/metrics")
        assert bench.told == ["body", "done"]


@in_loop()
async def test_every_answer_has_the_headers() -> None:
    """Pages, refusals and errors; those of web.config.file come before ours."""
    bench = Bench()
    async with serving(bench) as client:
        for path in ("/-/healthy", "/metrics", "/none", WRITE_PATH):
            response = await client.get(path)
            assert cross_origin.HEADERS.items() <= dict(response.headers).items()
        bench.rules.web.headers = {"X-Frame-Options": "SAMEORIGIN"}
        response = await client.get("/metrics")
        assert response.headers.getall("X-Frame-Options") == ["SAMEORIGIN"]
