"""Whatever the service answers, each committed item has one end, and the ledger says which.

The faults happen on real sockets, in the sandbox; waits are bounded by RECEIVER_RETRY_MAX.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import Running, delivered, receiving, script
from tests.integration.remote_write import Point, encode, numbered, post
from tests.integration.waiting import in_loop, until

Fault = dict[str, Any]


def points(count: int) -> list[Point]:
    """Make a numbered stream that begins now."""
    return numbered(0, 0, count, int(time.time() * 1000))


async def send(receiver: Running, sent: list[Point]) -> None:
    """Write points in one request, which must be acknowledged."""
    reply = await post(receiver.session, receiver.url, encode(sent))
    assert reply.status == 204, reply.text


def requests(sandbox: Sandbox) -> list[dict[str, Any]]:
    """List the requests that a sandbox had."""
    return sandbox.ledger.requests(10_000)


def status(code: int, **more: Any) -> Fault:
    return {"kind": "status", "status": code} | more


RETRIED = {
    "206, some later": [{"kind": "items", "every": 3, "status_code": 429}],
    "206, some later twice": [{"kind": "items", "every": 2, "status_code": 500, "times": 2}],
    "400, all later": [{"kind": "items", "every": 1, "status_code": 503}],
    "206, nobody says which": [status(206, body="<html>")],
    "408": [status(408, times=3)],
    "429": [status(429, times=3)],
    "500": [status(500, times=3)],
    "502, a page": [status(502, times=3)],
    "503, Retry-After: 0": [status(503, retry_after=0, times=3)],
    "503, Retry-After of nonsense": [status(503, retry_after="soon", times=2)],
    "504, a page": [status(504)],
    "599": [status(599)],
    "reset before it is read": [{"kind": "reset", "when": "before_read", "times": 2}],
    "one of each": [
        status(500),
        {"kind": "reset", "when": "before_read"},
        {"kind": "items", "every": 5, "status_code": 408},
        status(429, retry_after=0),
        status(503),
    ],
}


@pytest.mark.parametrize("faults", RETRIED.values(), ids=RETRIED.keys())
@in_loop()
async def test_passing_faults_delay_and_lose_nothing(tmp_path: Path, faults: list[Fault]) -> None:
    """Each item arrives once: what the service did not take was sent again, and nothing else."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, *faults)
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert sorted(delivered(server.sandbox)) == sorted(sent)
        assert (found["accepted"], found["rejected"], found["expired"]) == (40, {}, 0)
        assert found["delivery"]["state"] == "open"
        assert found["delivery"]["failures"] == 0
        assert found["outbox"]["batches"] == found["outbox"]["bytes"] == 0


ANSWER_LOST = {
    "reset after it is stored": [{"kind": "reset", "when": "after_accept", "times": 2}],
    "a part is sent again, and that is reset": [
        {"kind": "items", "every": 2, "status_code": 500},
        {"kind": "reset", "when": "after_accept"},
    ],
}


@pytest.mark.parametrize("faults", ANSWER_LOST.values(), ids=ANSWER_LOST.keys())
@in_loop()
async def test_a_lost_answer_doubles_but_never_loses(tmp_path: Path, faults: list[Fault]) -> None:
    """The service has no idempotency key: what was stored without our knowing is sent again."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, *faults)
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert set(delivered(server.sandbox)) == set(sent)
        assert len(delivered(server.sandbox)) > 40
        assert found["accepted"] == found["received"] == 40


SPOILED = {
    "reset amid the answer": {"kind": "reset", "when": "mid_answer"},
    "truncated": {"kind": "answer", "how": "truncated"},
    "empty": {"kind": "answer", "how": "empty"},
}


@pytest.mark.parametrize("fault", SPOILED.values(), ids=SPOILED.keys())
@in_loop()
async def test_a_200_whose_body_is_spoiled_is_taken_at_its_word(
    tmp_path: Path, fault: Fault
) -> None:
    """The status line says that the items are in: sending them again would double them."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, fault)
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert sorted(delivered(server.sandbox)) == sorted(sent)
        assert found["accepted"] == 40
        async with receiver.session.get(f"{receiver.url}/metrics") as response:
            assert "receiver_items_unconfirmed_total 40.0" in await response.text()


@in_loop()
async def test_a_200_that_is_not_the_service_s_delivers_nothing(tmp_path: Path) -> None:
    """Something else has answered: all is kept, and it says so; the items are sent again."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, {"kind": "answer", "how": "garbage", "accept": False, "times": 3})
        sent = points(40)
        await send(receiver, sent)

        async def blocked() -> dict[str, Any] | None:
            delivery: dict[str, Any] = (await receiver.status())["delivery"]
            return delivery if delivery["failures"] >= 2 else None

        delivery = await until(blocked, "two refusals")
        assert delivery["state"] == "blocked"
        assert f"(from {server.url})" in delivery["reason"]
        found = await receiver.idle()
        assert sorted(delivered(server.sandbox)) == sorted(sent)
        assert found["accepted"] == 40


@in_loop()
async def test_no_answer_in_time_is_sent_again(tmp_path: Path) -> None:
    """The items are stored and the answer is late: doubled, not lost, and said to be a time-out."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, send_timeout_seconds="0.3") as receiver,
    ):
        script(server, {"kind": "delay", "delay_seconds": 20})
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert Counter(delivered(server.sandbox)) == Counter(sent) + Counter(sent)
        assert found["delivery"]["attempts"] == {"unreachable": 1, "200": 1}


REJECTED: dict[str, tuple[Fault, Counter[str]]] = {
    "too long": (
        {"every": 4, "status_code": 400, "message": "100: Field 'name' on type 'DataPoint' is too long. Expected: 1024 characters"},
        Counter({"too_long": 10}),
    ),
    "sampled out": (
        {"every": 5, "status_code": 429, "message": "Telemetry sampled out."},
        Counter({"sampled_out": 8}),
    ),
    "all of them": (
        {"every": 1, "status_code": 400, "message": "106: Field 'value' on type 'DataPoint' is of incorrect type. Expected: double, Actual: x"},
        Counter({"wrong_type": 40}),
    ),
    "words nobody knows": ({"every": 20, "status_code": 404, "message": "?"}, Counter({"other": 2})),
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
@in_loop()
async def test_rejected_items_are_not_sent_again_and_leave_a_trace(
    tmp_path: Path, name: str
) -> None:
    """Counted by reason, the others delivered once, and found among the dead letters."""
    fault, reasons = REJECTED[name]
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, {"kind": "items"} | fault)
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert found["rejected"] == reasons
        assert found["accepted"] == 40 - reasons.total()
        kept = delivered(server.sandbox)
        assert len(kept) == len(set(kept)) == 40 - reasons.total()
        assert set(kept) == {p for p in sent if (int(p.value) + 1) % fault["every"]}
        assert len(requests(server.sandbox)) == 1
        letters = await dead_letters(tmp_path)
        values = {letter["item"]["data"]["baseData"]["metrics"][0]["value"] for letter in letters}
        assert values == {p.value for p in sent if not (int(p.value) + 1) % fault["every"]}
        assert {letter["reason"] for letter in letters} == set(reasons)
        assert all(letter["message"] == fault["message"] for letter in letters)


async def dead_letters(folder: Path) -> list[dict[str, Any]]:
    """Ask the command line what was rejected, while the receiver runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "receiver",
        "dead-letters",
        "--json",
        "--outbox-dir",
        str(folder / "outbox"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


@in_loop()
async def test_one_answer_may_accept_reject_and_postpone(tmp_path: Path) -> None:
    """A 206 is read item by item, by index; "sampled out" is not retried whatever its status."""
    errors = [
        {"index": 3, "statusCode": 429, "message": "Too many requests"},
        {"index": 7, "statusCode": 400, "message": "109: Field 'name' is required but missing"},
        {"index": 9, "statusCode": 206, "message": "Telemetry sampled out."},
        {"index": 11, "statusCode": 400, "message": "103: Field 'time' on type 'Envelope' is older than the allowed min date."},
        {"index": 38, "statusCode": 500, "message": ""},
    ]  # fmt: skip
    body = json.dumps({"itemsReceived": 40, "itemsAccepted": 35, "errors": errors})
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, status(206, body=body))
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert sorted(delivered(server.sandbox)) == [sent[3], sent[38]]
        assert found["accepted"] == 37
        assert found["rejected"] == {"missing_field": 1, "sampled_out": 1}
        assert found["expired"] == 1


BLOCKED = {
    "400, not our key": (status(400, body='{"itemsReceived":0,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"Invalid instrumentation key"}]}'), "blocked", "key"),
    "400, sign in": (status(400, body='{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"Authentication not supported"}]}'), "blocked", "Authorization=AAD"),
    "401": (status(401), "blocked", "Entra"),
    "402": (status(402, retry_after=0), "quota", "cap"),
    "403": (status(403), "blocked", "no identity is configured"),
    "404": (status(404), "blocked", "region's endpoint"),
    "405": (status(405), "blocked", "IngestionEndpoint"),
    "407": (status(407), "blocked", "HTTPS_PROXY"),
    "418": (status(418), "blocked", "connection string"),
    "439": (status(439), "quota", "daily cap"),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKED)
@in_loop()
async def test_what_a_person_must_set_right_is_said_and_waited_for(
    tmp_path: Path, name: str
) -> None:
    """Everything is kept, the status page says what to do, and it goes on by itself after."""
    fault, state, hint = BLOCKED[name]
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, fault | {"times": None})
        sent = points(40)
        await send(receiver, sent)

        async def closed() -> dict[str, Any] | None:
            delivery: dict[str, Any] = (await receiver.status())["delivery"]
            return delivery if delivery["failures"] >= 2 else None

        delivery = await until(closed, "two refusals")
        assert delivery["state"] == state
        assert hint in delivery["hint"]
        assert str(fault["status"]) in delivery["reason"]
        assert (await receiver.status())["pending"] == 40
        script(server)
        await receiver.idle()
        assert sorted(delivered(server.sandbox)) == sorted(sent)


@in_loop()
async def test_a_used_up_quota_is_probed_with_the_smallest_batch(tmp_path: Path) -> None:
    """While the quota is used up one batch at a time asks, and it is the cheapest one."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, status(439, times=None))
        sent = points(700)
        await send(receiver, sent[:400])

        async def answered() -> bool:
            return bool((await receiver.status())["delivery"]["attempts"])

        await until(answered, "the first answer")
        for first, end in ((400, 410), (410, 700)):
            await send(receiver, sent[first:end])
        before = len(requests(server.sandbox))
        await until(lambda: len(requests(server.sandbox)) >= before + 3, "probes")
        sizes = [each["bytes_in"] for each in requests(server.sandbox)]
        assert set(sizes[before + 1 :]) == {min(sizes)}
        script(server)
        await receiver.idle()
        assert sorted(delivered(server.sandbox)) == sorted(sent)


@in_loop()
async def test_a_batch_that_is_too_large_is_halved_until_it_fits(tmp_path: Path) -> None:
    """413 splits, and splits again; every part arrives, each item once."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, status(413, times=3))
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        assert sorted(delivered(server.sandbox)) == sorted(sent)
        assert found["delivery"]["attempts"] == {"413": 3, "200": 4}


@in_loop()
async def test_an_item_that_alone_is_too_large_is_rejected(tmp_path: Path) -> None:
    """Halving ends at one item: that one is rejected, with the service's words."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, status(413, times=None))
        await send(receiver, points(8))
        found = await receiver.idle()
        assert found["rejected"] == {"other": 8}
        assert found["delivery"]["attempts"] == {"413": 15}
        assert delivered(server.sandbox) == []
        assert len(await dead_letters(tmp_path)) == 8


@pytest.mark.parametrize("form", ["seconds", "date"])
@in_loop()
async def test_retry_after_is_obeyed(tmp_path: Path, form: str) -> None:
    """Nothing is sent before the time that the service named, as seconds or as a date."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, status(429, retry_after=3, retry_after_form=form))
        begun_at = time.monotonic()
        sent = points(40)
        await send(receiver, sent)
        found = await receiver.idle()
        waited = time.monotonic() - begun_at
        least = 3.0 if form == "seconds" else 2.0  # a date has whole seconds
        assert least <= waited < 30.0
        assert found["delivery"]["attempts"] == {"429": 1, "200": 1}
        assert sorted(delivered(server.sandbox)) == sorted(sent)


@pytest.mark.parametrize("code", [307, 308])
@in_loop()
async def test_a_redirect_on_the_same_host_is_followed_and_remembered(
    tmp_path: Path, code: int
) -> None:
    """The body goes along, and until max-age is over the next batch goes there at once."""
    async with (
        serve(Sandbox()) as first,
        serve(Sandbox()) as second,
        receiving(tmp_path, first.connection_string) as receiver,
    ):
        location = f"{second.url}/v2.1/track"
        redirect = {"kind": "redirect", "status": code, "location": location, "times": None}
        script(first, redirect | {"cache_control": "max-age=3600"})
        sent = points(60)
        for part in (sent[:20], sent[20:40], sent[40:]):
            await send(receiver, part)
            await receiver.idle()
        assert sorted(delivered(second.sandbox)) == sorted(sent)
        assert [each["status"] for each in requests(first.sandbox)] == [code]
        script(second, status(503, times=1))
        script(first)
        more = points(20)
        await send(receiver, more)
        await receiver.idle()
        held = delivered(first.sandbox) + delivered(second.sandbox)
        assert sorted(held) == sorted(sent + more)


@in_loop()
async def test_a_redirect_that_leads_into_nothing_is_forgotten(tmp_path: Path) -> None:
    """When the place that was redirected to is gone, the configured one is asked again."""
    async with (
        serve(Sandbox()) as first,
        receiving(tmp_path, first.connection_string) as receiver,
    ):
        async with serve(Sandbox()) as gone:
            location = f"{gone.url}/v2.1/track"
        script(first, {"kind": "redirect", "location": location})
        sent = points(20)
        await send(receiver, sent)
        found = await receiver.idle()
        assert sorted(delivered(first.sandbox)) == sorted(sent)
        assert found["delivery"]["attempts"] == {"unreachable": 1, "200": 1}


@pytest.mark.parametrize(
    "location", ["http://localhost:{port}/v2.1/track", "ftp://127.0.0.1/", "//evil.example/", ""]
)
@in_loop()
async def test_a_redirect_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    """Items never go to a host that was not configured; they stay until the service takes them."""
    async with (
        serve(Sandbox()) as first,
        serve(Sandbox()) as elsewhere,
        receiving(tmp_path, first.connection_string) as receiver,
    ):
        target = location.format(port=elsewhere.port) or " "
        script(first, {"kind": "redirect", "location": target, "times": None})
        sent = points(20)
        await send(receiver, sent)

        async def refused() -> dict[str, Any] | None:
            delivery: dict[str, Any] = (await receiver.status())["delivery"]
            return delivery if delivery["failures"] >= 2 else None

        delivery = await until(refused, "two refusals")
        assert "not followed" in delivery["reason"]
        assert requests(elsewhere.sandbox) == []
        script(first)
        await receiver.idle()
        assert sorted(delivered(first.sandbox)) == sorted(sent)


@in_loop()
async def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    """Ten redirects and no more; then it is a fault like any other."""
    async with (
        serve(Sandbox()) as first,
        receiving(tmp_path, first.connection_string) as receiver,
    ):
        circle = {"kind": "redirect", "location": f"{first.url}/v2.1/track", "times": 11}
        script(first, circle)
        sent = points(20)
        await send(receiver, sent)
        found = await receiver.idle()
        assert len(requests(first.sandbox)) == 12
        assert sorted(delivered(first.sandbox)) == sorted(sent)
        assert found["delivery"]["attempts"] == {"unreachable": 1, "200": 1}


@in_loop()
async def test_items_that_grew_too_old_expire(tmp_path: Path) -> None:
    """Older than the service's 48 hours: counted as expired, by its word or by both clocks."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        old_ms = int((time.time() - 49 * 3600) * 1000)
        await send(receiver, numbered(0, 0, 40, old_ms))
        found = await receiver.idle()
        assert (found["expired"], found["rejected"]) == (40, {})
        assert len(requests(server.sandbox)) == 1, "the service was asked"
        await send(receiver, numbered(0, 0, 41, old_ms))
        found = await receiver.idle()
        assert found["expired"] == 81
        assert len(requests(server.sandbox)) == 1, "it has told its time, and need not be asked"
        assert delivered(server.sandbox) == []


@in_loop()
async def test_a_wrong_date_in_a_foreign_answer_expires_nothing(tmp_path: Path) -> None:
    """A proxy two days ahead that answers in the service's place costs a wait, and no data."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        server.sandbox.clock_offset_seconds = 49 * 3600.0
        script(server, {"kind": "status", "status": 503})
        first, second = points(20), numbered(1, 0, 20, int(time.time() * 1000))
        await send(receiver, first)

        async def refused() -> bool:
            return bool((await receiver.status())["delivery"]["attempts"].get("503"))

        await until(refused, "the proxy's answer")
        server.sandbox.clock_offset_seconds = 0.0
        await send(receiver, second)
        found = await receiver.idle()
        assert (found["accepted"], found["expired"]) == (40, 0)
        assert sorted(delivered(server.sandbox)) == sorted([*first, *second])


@in_loop()
async def test_an_endpoint_that_was_away_gets_all_that_waited(tmp_path: Path) -> None:
    """Connections refused for a while: nothing is lost, many requests catch up."""
    async with serve(Sandbox()) as away:
        sandbox, port, connection = away.sandbox, away.port, away.connection_string
    async with receiving(tmp_path, connection) as receiver:
        sent = points(1500)
        for first in range(0, 1500, 100):
            await send(receiver, sent[first : first + 100])

        async def refused() -> bool:
            return bool((await receiver.status())["delivery"]["failures"] >= 2)

        await until(refused, "refused connections")
        assert (await receiver.status())["pending"] == 1500
        async with serve(sandbox, port=port):
            await receiver.idle()
        assert sorted(delivered(sandbox)) == sorted(sent)
