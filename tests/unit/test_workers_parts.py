"""The parts of `--workers` that need no process: what is divided, told, and waited for."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable

import aiohttp
import orjson
import pytest
from aiohttp import web

from receiver.allowlist import Allowlist, Entry
from receiver.arrivals import Arrivals
from receiver.batch import Chunk, Submission, seal
from receiver.decode import Message, decompress
from receiver.errors import NotCommitted, OutboxFull, SettingsError
from receiver.intake import Intake
from receiver.metadata import Metadata, MetadataBook
from receiver.observation import LINES_PER_SECOND, Observation
from receiver.settings import Settings, resolve
from receiver.troubles import Troubles
from receiver.workers.backstage import Backstage, PassOn
from receiver.workers.post import backoff_seconds
from receiver.workers.remote import RemoteOutbox
from receiver.workers.report import Hearing, Witness
from receiver.workers.share import from_document, share_of_each, to_document
from receiver.workers.sockets import Frames, receive, send
from receiver.workers.wire import Frame, pack_answers, to_bytes, unpack_submissions
from tests.integration.remote_write import Point, encode
from tests.integration.waiting import in_loop

NOW = 1_800_000_000.0


def settings(**flags: str) -> Settings:
    return resolve(flags, {})[0]


def test_what_bounds_all_is_divided() -> None:
    """And nothing else; one worker has all of it."""
    whole = settings(workers="4", requests_max="10", connection_string="InstrumentationKey=k")
    share = share_of_each(whole)

    assert share.requests_max == 2
    assert share.connections_max == 128
    assert share.in_flight_max_bytes == 32 << 20
    assert share.series_cache_bytes == 64 << 20
    assert share.body_max_bytes == whole.body_max_bytes
    assert share.connection_string == ""
    assert share_of_each(settings(workers="9", requests_max="3", body_max_bytes="1MiB")).requests_max == 1  # fmt: skip
    alone = settings(body_max_bytes="200MiB")
    assert share_of_each(alone) == alone


def test_a_share_that_no_request_would_fit_in_is_refused() -> None:
    """With what to set."""
    with pytest.raises(SettingsError, match="RECEIVER_IN_FLIGHT_MAX_BYTES"):
        share_of_each(settings(workers="9"))


def test_settings_are_the_same_at_the_other_end() -> None:
    """Addresses and paths are what they were."""
    found = settings(listen="[::1]:7", outbox_dir="/tmp/x", workers="2")

    assert from_document(orjson.loads(orjson.dumps(to_document(found)))) == found


@pytest.mark.parametrize(
    ("deaths", "seconds"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (8, 30), (5000, 30)]
)
def test_a_worker_is_replaced_at_once_then_more_slowly(deaths: int, seconds: float) -> None:
    """Up to half a minute."""
    assert backoff_seconds(deaths) == seconds


class Ears:
    """The front's parts that hear of what workers saw."""

    def __init__(self) -> None:
        self.observation = Observation(lambda: NOW)
        self.troubles = Troubles(lambda: NOW)
        self.metadata = MetadataBook()
        self.allowlist = Allowlist([Entry("nv_*")])
        self.hearing = Hearing(self.observation, self.troubles, self.metadata)

    def hear(self, witness: Witness, allowlist: Allowlist, *, body: bool = True) -> Frame:
        """Take a report, as it comes over the wire."""
        frame = witness.report(Arrivals(), allowlist, look=True, body=body)
        assert to_bytes(frame)
        copy = Frame(orjson.loads(orjson.dumps(frame.head)), frame.tail)
        self.hearing.hear(copy, self.allowlist)
        return frame


def lines(count: int) -> list[Chunk]:
    text = (
        b'{"time":"2026-11-26T00:00:00.000Z","data":{"metrics":[{"name":"nv_a","value":1.0}]}}}\n'
    )
    return [Chunk(text, 1) for _ in range(count)]


def test_names_are_told_once_and_begin_anew_with_a_new_list() -> None:
    """Whatever their bytes."""
    ears, witness = Ears(), Witness(2)
    allowlist = Allowlist([Entry("nv_*")])
    names = [b"nv_a", b"other", b"\xff\xfe not UTF-8"]
    for name in names:
        allowlist.wants(name)

    ears.hear(witness, allowlist)
    assert ears.allowlist.names_seen() == {names[0]: True, names[1]: False, names[2]: False}
    allowlist.wants(b"nv_b")
    assert ears.hear(witness, allowlist).head["names"] == ["nv_b"]
    assert ears.hear(witness, allowlist).head["names"] == []
    fresh = Allowlist([Entry("x")])
    fresh.wants(b"nv_a")
    assert ears.hear(witness, fresh).head["names"] == ["nv_a"]


def test_metadata_is_told_when_it_is_news() -> None:
    """The same word every minute is none."""
    ears, witness = Ears(), Witness(2)
    allowlist = Allowlist([])
    witness.metadata.put(Metadata("a", "counter", "Help.", ""))
    ears.hear(witness, allowlist)
    assert ears.metadata.get("a") == Metadata("a", "counter", "Help.", "")
    witness.metadata.put(Metadata("a", "counter", "Help.", ""))
    assert ears.hear(witness, allowlist).head["families"] == []
    witness.metadata.put(Metadata("a", "gauge", "Help.", ""))
    ears.hear(witness, allowlist)
    assert ears.metadata.get("a") == Metadata("a", "gauge", "Help.", "")


def test_errors_are_told_with_how_often_they_happened() -> None:
    """The latest stays the latest."""
    ears, witness = Ears(), Witness(2)
    for code in (500, 501, 502):
        witness.note("request", f"{code} no", "hint")
    witness.note("request", "broken", "hint")
    for _ in range(2):
        ears.hear(witness, Allowlist([]))

    assert [(each.words, each.count) for each in ears.troubles.latest()] == [("broken", 1), ("502 no", 3)]  # fmt: skip


def test_what_flows_is_told_up_to_the_share_that_the_front_looks_at() -> None:
    """The front knows how many items it does not see."""
    ears, witness = Ears(), Witness(2)
    raw = decompress(encode([Point("other", (), 1, 1.0)]), 1 << 20)
    witness.saw(
        Intake(lines(LINES_PER_SECOND // 2 + 300), newest_ms=7, received=1), raw, Message.V1
    )

    wanted_a_body = ears.hearing.wants_a_body
    ears.hear(witness, Allowlist([]))
    for _ in range(10):  # a second's looks
        ears.observation.digest()
    assert ears.observation.lines_seen == LINES_PER_SECOND // 2
    assert ears.observation.lines_skipped == 300
    assert ears.observation.newest_ms == 7
    assert ears.observation.names() == {"other": 1.0}
    assert (wanted_a_body, ears.hearing.wants_a_body) == (True, False)
    ears.hear(witness, Allowlist([]))
    ears.observation.digest()
    assert ears.observation.lines_seen == LINES_PER_SECOND // 2, "told once"


def test_the_outbox_elsewhere_answers_for_each_submission() -> None:
    """Committed, known from before, no room, or failed; the thread waits for it."""
    here, there = socket.socketpair()
    sent = [seal(Submission(lines(1), n, n, {("received", ""): 1}, b"%d" % n)) for n in range(4)]
    heard: list[Submission] = []

    def front() -> None:
        heard.extend(unpack_submissions(receive(there)))
        send(there, pack_answers([None, b"before", OutboxFull("9 wait"), NotCommitted("disk")]))
        there.close()

    thread = threading.Thread(target=front)
    thread.start()
    remote = RemoteOutbox(here)
    first, second, third, fourth = remote.apply(sent, ())
    thread.join()

    assert [(each.digest, each.items, each.totals) for each in heard] == [
        (each.digest, each.items, each.totals) for each in sent
    ]
    assert (first, second) == (None, b"before")
    assert (type(third), str(third)) == (OutboxFull, "9 wait")
    assert (type(fourth), str(fourth)) == (NotCommitted, "disk")
    remote.probe()
    assert not remote.replace_if_broken(OSError())
    with pytest.raises((EOFError, OSError)):
        remote.apply(sent, ())
    remote.close()


@in_loop()
async def test_frames_are_the_same_for_a_thread_and_for_a_loop() -> None:
    """Large ones too; an end amid a frame is an end."""
    here, there = socket.socketpair()
    frames = await Frames.over(here)
    sent = Frame({"a": [1, "b"]}, bytes(3 << 20))
    received = asyncio.create_task(asyncio.to_thread(receive, there))
    await frames.send(sent)
    assert await received == sent
    sending = asyncio.create_task(asyncio.to_thread(send, there, sent))
    assert await frames.receive() == sent
    await sending
    there.sendall(to_bytes(sent)[:100])
    there.close()
    with pytest.raises(EOFError):
        await frames.receive()
    frames.close()


async def _hello(request: web.Request) -> web.Response:
    assert "Authorization" not in request.headers
    site = request.headers.get("Sec-Fetch-Site", "")
    return web.Response(
        status=418, text=f"{request.method} {request.path_qs} {site}", headers={"X-More": "yes"}
    )


async def _through(
    is_ours: Callable[[int], bool], path: str, name: str = ""
) -> tuple[int, str, str | None]:
    """Ask the front through a worker's handler."""
    front = web.Application()
    front.router.add_route("*", "/{path:.*}", _hello)
    backstage = Backstage(front, is_ours)
    await backstage.open()
    pass_on = PassOn(name or backstage.name)
    runner = web.AppRunner(web.Application())
    runner.app.router.add_route("*", "/{path:.*}", pass_on.answer)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        headers = {"Authorization": "Bearer x", "Sec-Fetch-Site": "cross-site"}
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=b"a body", headers=headers) as found,
        ):
            return found.status, await found.text(), found.headers.get("X-More")
    finally:
        await runner.cleanup()
        await pass_on.close()
        await backstage.close()


@in_loop()
async def test_a_request_is_passed_on_with_its_answer() -> None:
    """Method, path, query and headers, but not the credentials; status, text and headers."""
    found = await _through(lambda pid: pid == os.getpid(), "/a%2Fb?match=nv_*&x=%20y")

    assert found == (418, "POST /a%2Fb?match=nv_*&x=%20y cross-site", "yes")


@in_loop()
async def test_the_front_lets_in_nobody_but_its_workers() -> None:
    """Whoever has no right sees a closed connection; so does a worker whose front is away."""
    assert (await _through(lambda _: False, "/"))[0] == 504
    assert (await _through(lambda _: True, "/", name=f"nobody-{os.getpid()}"))[0] == 504
