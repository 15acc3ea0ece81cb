"""The service's answers, status by status and item by item, as the contract has them."""

import gzip
import itertools
import json
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from time import asctime, gmtime, strftime

import pytest

from receiver.azure.answer import MESSAGE_LIMIT
from receiver.azure.policy import ITEM_ACTIONS, RULES, Action, Body, rule_for
from receiver.azure.rejections import REJECT_REASONS, reason_of
from receiver.azure.verdict import RETRY_AFTER_LIMIT_SECONDS, Verdict, judge, retry_after

NOW = 1_800_000_000.0
ITEMS = 10


def answer(*errors: tuple[int, int, str], items: int = ITEMS, accepted: int | None = None) -> bytes:
    """Spell the service's body; errors are (index, status, message)."""
    body = {
        "itemsReceived": items,
        "itemsAccepted": items - len(errors) if accepted is None else accepted,
        "appId": None,
        "errors": [{"index": i, "statusCode": s, "message": m} for i, s, m in errors],
    }
    return json.dumps(body).encode()


def judged(
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    items: int = ITEMS,
    *,
    signed_in: bool = False,
) -> Verdict:
    """Judge an answer to a batch of ten."""
    verdict = judge(status, headers or {}, body, items, NOW, signed_in=signed_in)
    if verdict.action in (Action.SETTLE, Action.UNCONFIRMED):
        ends = verdict.accepted + len(verdict.retry) + len(verdict.rejected) + verdict.unexplained
        assert ends == items, "each item has one end"
    else:
        assert (verdict.accepted, verdict.rejected) == (0, ()), "nothing else ends an item"
    return verdict


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (199, Action.BLOCKED),
        (200, Action.BLOCKED),
        (201, Action.BLOCKED),
        (202, Action.BLOCKED),
        (203, Action.BLOCKED),
        (204, Action.BLOCKED),
        (206, Action.BLOCKED),
        (307, Action.BLOCKED),
        (308, Action.BLOCKED),
        (400, Action.BLOCKED),
        (401, Action.BLOCKED),
        (403, Action.BLOCKED),
        (402, Action.QUOTA),
        (404, Action.BLOCKED),
        (405, Action.BLOCKED),
        (407, Action.BLOCKED),
        (413, Action.SPLIT),
        (415, Action.BLOCKED),
        (422, Action.BLOCKED),
        (408, Action.RETRY),
        (429, Action.THROTTLE),
        (439, Action.QUOTA),
        (500, Action.RETRY),
        (502, Action.RETRY),
        (503, Action.RETRY),
        (504, Action.RETRY),
        (511, Action.BLOCKED),
        (599, Action.RETRY),
        (301, Action.BLOCKED),
        (302, Action.BLOCKED),
        (304, Action.BLOCKED),
        (418, Action.BLOCKED),
        (451, Action.BLOCKED),
        (600, Action.BLOCKED),
        (70_000, Action.BLOCKED),
    ],
)
@pytest.mark.parametrize(
    "body", [b"html>", b"\xff\xfe\x00", b"[1, 2]", b"nul", b"OK", b'{"status":"ok"}', b"{}"]
)
def test_a_body_of_someone_else_ends_no_item(status: int, action: Action, body: bytes) -> None:
    """Every status, whatever a go-between says with it: kept, with a hint and its first words."""
    verdict = judged(status, body)

    assert verdict.action is action
    assert verdict.hint
    assert str(status) in verdict.reason
    assert not verdict.by_the_service


@pytest.mark.parametrize("body", list(Body))
def test_there_is_a_rule_for_every_answer(body: Body) -> None:
    """And without the service's own body no rule settles a batch, but for a 200 cut off."""
    for status, signed_in in itertools.product(range(100, 620), (False, True)):
        rule = rule_for(status, body, "", signed_in=signed_in)
        assert rule.why
        assert rule.hint or rule.action is Action.SETTLE
        assert body is Body.ITEMS or rule.action is not Action.SETTLE
        assert (status, body) == (200, Body.MISSING) or rule.action is not Action.UNCONFIRMED


def test_every_rule_holds_for_some_answer() -> None:
    """A row behind a wider one is dead: nobody would notice that it says something else."""
    words = ["", "instrumentation key", "authentication", "connection string", "private", "<html>", "stamp specific"]  # fmt: skip
    named = [each for rule in RULES for each in rule.statuses]
    statuses = {status for each in named for status in ([each] if isinstance(each, int) else (each[0], each[50], each[-1]))}  # fmt: skip
    used = {
        rule_for(status, body, text, signed_in=signed_in)
        for status in statuses
        for body in Body
        for text in words
        for signed_in in (False, True)
    }
    assert used == set(RULES)


@pytest.mark.parametrize(
    ("status", "signed_in", "said", "fix"),
    [
        (401, False, "", "Entra ID"),
        (401, True, "", "tenant"),
        (403, True, "", "Monitoring Metrics Publisher"),
        (403, False, "", "no identity is configured"),
        (403, True, "Access from a public network is denied", "private link"),
        (403, False, "Data ingestion is not allowed by the network security perimeter", "private link"),
        (403, True, "<html>Forbidden", "proxy or firewall"),
        (402, False, "", "daily cap"),
        (439, False, "", "daily cap"),
        (404, False, "", "IngestionEndpoint"),
        (404, False, "Ingestion is allowed only from stamp specific endpoint - must update connection string", "region's endpoint"),
        (405, False, "", "IngestionEndpoint"),
        (407, False, "", "HTTPS_PROXY"),
        (511, False, "<html>Sign in", "portal"),
        (302, False, "", "connection string"),
        (413, False, "<html>Request Entity Too Large", "client_max_body_size"),
    ],
)  # fmt: skip
def test_what_a_person_must_set_right_is_said(
    status: int,
    signed_in: bool,  # noqa: FBT001
    said: str,
    fix: str,
) -> None:
    """The hint names the role or the setting, and not one that has no part in it."""
    hint = judged(status, said.encode(), signed_in=signed_in).hint
    assert fix in hint
    assert ("role" in hint) is (fix == "Monitoring Metrics Publisher")


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 429, 439, 500, 503])
def test_retry_after_is_carried_along(status: int) -> None:
    """Every status that says "not now" may say until when."""
    assert judged(status, headers={"Retry-After": "17"}).retry_after_seconds == 17
    assert judged(status).retry_after_seconds is None


def test_a_status_is_said_once() -> None:
    """A web server's page begins with it too."""
    assert judged(404, b"404: Not Found").reason == "404 Not Found"
    assert judged(404, b"").reason == "404"
    assert judged(503, b"Busy").reason == "503 Busy"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("60", 60.0),
        (" 5 ", 5.0),
        ("1.5", 1.5),
        ("7200", RETRY_AFTER_LIMIT_SECONDS),
        ("99999999999999", RETRY_AFTER_LIMIT_SECONDS),
        ("9" * 400, None),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW + 90, UTC)), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW - 90, UTC), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_LIMIT_SECONDS),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (asctime(gmtime(NOW + 90)), 90.0),
        (strftime("%a, %d %b %Y %H:%M:%S", gmtime(NOW + 90)), 90.0),
        (strftime("%A, %d-%b-%y %H:%M:%S GMT", gmtime(NOW + 90)), 90.0),
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 2027 00:00:00 +9999", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_clamped(text: str, seconds: float | None) -> None:
    """Seconds or an HTTP date, 0 to 3,600; what is neither counts as not there."""
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def test_a_date_without_a_zone_is_in_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asctime's form never has one: it would be read as this machine's time."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert retry_after(asctime(gmtime(NOW + 90)), NOW) == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_200_accepts_all() -> None:
    """The everyday answer."""
    found = judged(200, answer())

    assert (found.accepted, found.rejected, found.retry, found.reason) == (ITEMS, (), (), "")


@pytest.mark.parametrize("body", [b"", b" \r\n", answer()[:2], answer()[:20], answer()[:-1]])
def test_200_whose_body_is_lost_is_unconfirmed(body: bytes) -> None:
    """It may be the service's own: believed by its status, and counted as unconfirmed."""
    found = judged(200, body)

    assert found.action is Action.UNCONFIRMED
    assert found.accepted == ITEMS
    assert found.reason == "200 without the service's body"


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize(
    "body",
    [
        answer(items=ITEMS - 1),
        answer(items=ITEMS + 1),
        answer(items=0),
        answer(accepted=ITEMS + 1),
        answer(accepted=-1),
        b'{"itemsReceived":10}',
        b'{"itemsReceived":10,"itemsAccepted":true}',
        b'{"itemsReceived":"10","itemsAccepted":"10","errors":[]}',
        b'{"itemsReceived":10,"itemsAccepted":10,"errors":7}',
        b"[" + answer() + b"]",
        b"\xef\xbb\xbf<html>sign in</html>",
    ],
)
def test_an_answer_that_does_not_fit_the_batch_is_no_word_on_it(status: int, body: bytes) -> None:
    """A cached answer to some other request, or what only looks like the service's."""
    assert judged(status, body).action is Action.BLOCKED


@pytest.mark.parametrize(
    "spelt",
    [
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: b"\r\n" + body + b"\n",
        lambda body: body.replace(b',"errors": []', b""),
        lambda body: body.replace(b"[]", b"null"),
        gzip.compress,
        lambda body: body.decode().encode("utf-16"),
    ],
)
def test_the_service_s_body_is_known_however_it_is_spelt(spelt: Callable[[bytes], bytes]) -> None:
    """A proxy may compress it, or put a mark in front."""
    found = judged(200, spelt(answer()))
    assert (found.action, found.accepted) == (Action.SETTLE, ITEMS)


@pytest.mark.parametrize(
    ("body", "action"),
    [
        (zlib.compress(answer()), Action.SETTLE),
        (answer(), Action.SETTLE),
        (gzip.compress(answer()), Action.SETTLE),
        (zlib.compress(answer())[:-9], Action.UNCONFIRMED),
        (gzip.compress(answer())[:30], Action.UNCONFIRMED),
        (gzip.compress(b"<html>sign in</html>"), Action.BLOCKED),
        (gzip.compress(b"x" * (9 << 20)), Action.BLOCKED),
    ],
    ids=["zlib", "plain", "gzip", "zlib cut off", "gzip cut off", "a page", "a bomb"],
)
def test_a_compressed_answer_is_read(body: bytes, action: Action) -> None:
    """By its first bytes or its header; the client may have undone it already."""
    assert judged(200, body, {"Content-Encoding": "deflate"}).action is action


def test_206_retries_what_may_pass_and_rejects_the_rest() -> None:
    """Items by their own status: the ones to be sent again, the ones that are gone, the rest is in."""
    found = judged(206, answer((1, 500, "busy"), (4, 400, "103: old"), (7, 429, "slow down")))

    assert found.action is Action.SETTLE
    assert found.accepted == ITEMS - 3
    assert found.retry == (1, 7)
    assert [(each.index, each.status, each.reason) for each in found.rejected] == [
        (4, 400, "too_old")
    ]
    assert found.unexplained == 0


@pytest.mark.parametrize("status", sorted(ITEM_ACTIONS))
def test_each_retryable_item_status_is_retried(status: int) -> None:
    """401, 402, 403, 408, 429, 439 and 5xx say "not now"."""
    assert judged(206, answer((0, status, "later"))).retry == (0,)


@pytest.mark.parametrize(
    ("codes", "wait", "fix"),
    [
        ((500,), Action.RETRY, "later"),
        ((500, 429), Action.THROTTLE, "select fewer"),
        ((429, 402), Action.QUOTA, "daily cap"),
        ((439, 401), Action.QUOTA, "daily cap"),
        ((401, 500), Action.BLOCKED, "Entra"),
        ((403,), Action.BLOCKED, "no identity"),
    ],
)
def test_the_most_urgent_item_status_says_how_long_to_wait(
    codes: tuple[int, ...], wait: Action, fix: str
) -> None:
    """A quota that is used up amid a batch is a quota that is used up."""
    found = judged(206, answer(*((place, code, "") for place, code in enumerate(codes))))

    assert found.action is Action.SETTLE
    assert found.wait is wait
    assert fix in found.hint


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 418, 422, 0, 200])
def test_each_other_item_status_is_final(status: int) -> None:
    """No endless retry of what will never be taken."""
    found = judged(206, answer((0, status, "never")))

    assert found.retry == ()
    assert len(found.rejected) == 1


def test_the_retryable_statuses_are_those_of_the_contract() -> None:
    """A list that grows or shrinks by accident loses data or retries for ever."""
    assert {401, 402, 403, 408, 429, 439, 500, 502, 503, 504} == set(ITEM_ACTIONS)


@pytest.mark.parametrize("status", [429, 503, 400])
def test_what_was_sampled_out_is_never_sent_again(status: int) -> None:
    """It is gone by the resource's own setting, and counted as its own."""
    found = judged(206, answer((3, status, "Telemetry sampled out.")))

    assert found.retry == ()
    assert [each.reason for each in found.rejected] == ["sampled_out"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("100: Field 'message' on type 'MessageData' is too long. Expected: 32768 characters", "too_long"),
        ("103: Field 'time' on type 'Envelope' is older than the allowed min date. Expected: now - 172800000ms, Actual: now - 414962282ms", "too_old"),
        ("103: Field 'time' on type 'Envelope' is older than the allowed min date. Expected: now - 172800000ms", "too_old"),
        ("104: Field 'time' on type 'Envelope' is newer than the max date. Expected: now + 7200000ms", "too_new"),
        ("106: Field 'name' on type 'DataPoint' is of incorrect type. Expected: string, Actual: 3440692220", "wrong_type"),
        ("109: Field 'startTime' on type 'RequestData' is required but missing or empty. Expected: string, Actual: undefined", "missing_field"),
        ("200: Child value 'NaN' for key 'notANumber' is of incorrect type. Expected: number, Actual: string", "wrong_type"),
        ("Telemetry item length must not exceed 65536", "too_large"),
        ("Telemetry sampled out.", "sampled_out"),
        ("SyntaxError: Unexpected token N", "not_json"),
        ("SyntaxError: Unexpected token N in JSON at position 103", "not_json"),
        ("1030: something new", "other"),
        ("", "other"),
        ("Something nobody has seen", "other"),
    ],
)  # fmt: skip
def test_the_service_s_words_have_a_reason(message: str, reason: str) -> None:
    """Each message known from the wild, sorted into the closed set that is also a metric's label."""
    assert reason_of(message) == reason
    assert reason in REJECT_REASONS
    [rejected] = judged(206, answer((2, 400, message))).rejected
    assert (rejected.index, rejected.reason, rejected.message) == (2, reason, message)


def test_400_is_judged_item_by_item() -> None:
    """A whole batch refused comes as 400 with the same body: 1,024 sent, none accepted, all too old."""
    found = judged(400, answer(*((i, 400, "103: old") for i in range(ITEMS))))

    assert found.action is Action.SETTLE
    assert found.accepted == 0
    assert [each.reason for each in found.rejected] == ["too_old"] * ITEMS


def test_400_may_hold_items_to_be_sent_again() -> None:
    """Seen in mixed batches; they are not thrown away with the rest."""
    found = judged(400, answer((0, 400, "103: old"), (1, 503, "busy"), accepted=0))

    assert found.retry == (1,)
    assert found.accepted == 0
    assert found.unexplained == ITEMS - 2


def test_400_that_received_nothing_is_halved() -> None:
    """One line that cannot be read fails them all: halves find it, and it alone is rejected."""
    error = (0, 400, "SyntaxError: Unexpected token N")
    assert judged(400, answer(error, items=0, accepted=0)).action is Action.SPLIT
    found = judged(400, answer(error, items=0, accepted=0), items=1)
    assert [rejection.reason for rejection in found.rejected] == ["not_json"]


@pytest.mark.parametrize("body", [b"", b"Bad Request", b'{"error": "x"}', b"<?xml version='1.0'?>"])
@pytest.mark.parametrize("items", [1, ITEMS])
def test_400_without_the_service_s_body_rejects_nothing(body: bytes, items: int) -> None:
    """A gateway knows nothing of the items, whatever it could not read."""
    found = judged(400, body, items=items)

    assert found.action is Action.BLOCKED
    assert found.reason == f"400 {body.decode()}".strip()


@pytest.mark.parametrize("items", [1, ITEMS])
@pytest.mark.parametrize("received", [0, None])
@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("Invalid instrumentation key", "connection string"),
        ("invalid Instrumentation Key.", "connection string"),
        ("Authentication not supported", "Authorization=AAD"),
        ("NSP enabled component is only supported with connection string.", "connection string"),
        ("Something about how you send", "resource's settings"),
        ("", "resource's settings"),
    ],
)
def test_one_message_for_all_that_is_about_none_of_them_keeps_the_data(
    message: str, fix: str, received: int | None, items: int
) -> None:
    """A person can set it right within 48 hours: nothing is thrown away until then."""
    errors = [(place, 400, message) for place in range(items if received is None else 1)]
    body = answer(*errors, items=items if received is None else received, accepted=0)
    found = judged(400, body, items=items)

    assert found.action is Action.BLOCKED
    assert found.by_the_service
    assert fix in found.hint


def test_all_refused_without_a_word_is_no_rejection() -> None:
    """Ten received, none accepted, no error: nobody has said anything of an item."""
    assert judged(400, answer(accepted=0)).action is Action.BLOCKED
    assert judged(206, answer(accepted=0)).action is Action.BLOCKED


def test_messages_that_differ_are_about_the_items() -> None:
    """Words that nobody knows, and not the same for all: rejected, and kept to be read."""
    found = judged(400, answer(*((i, 400, f"odd {i % 2}") for i in range(ITEMS)), accepted=0))
    assert [rejection.reason for rejection in found.rejected] == ["other"] * ITEMS


def test_413_is_split_down_to_one_item() -> None:
    """A single item that the service finds too large is rejected; a page rejects none."""
    too_large = answer((0, 413, "Request too long"), items=0, accepted=0)
    assert judged(413, too_large, items=2).action is Action.SPLIT
    assert judged(413, b"<html>", items=2).action is Action.SPLIT
    alone = judged(413, too_large, items=1)
    assert alone.action is Action.SETTLE
    assert [(each.status, each.message) for each in alone.rejected] == [(413, "Request too long")]
    for body in (b"", b"<html>", b"Request too long"):
        assert judged(413, body, items=1).action is Action.BLOCKED


def test_what_the_service_counted_short_is_unexplained() -> None:
    """It says 7 of 10 and names one: two are lost without a word, and counted so."""
    found = judged(206, answer((0, 400, "103: old"), accepted=7))

    assert (found.accepted, len(found.rejected), found.unexplained) == (7, 1, 2)


@pytest.mark.parametrize("accepted", [-5, 11, 10**30, True, None, "7", 2.5, [], {}])
@pytest.mark.parametrize("status", [200, 206, 400])
def test_a_count_that_cannot_be_is_not_the_service_s(status: int, accepted: object) -> None:
    """Whatever itemsAccepted holds, nothing raises, and nothing ends."""
    body = {
        "itemsReceived": ITEMS,
        "itemsAccepted": accepted,
        "errors": [{"index": 1, "statusCode": 400}],
    }

    assert judged(status, json.dumps(body).encode()).action is Action.BLOCKED


@pytest.mark.parametrize(
    "errors",
    [
        None,
        [None, 7, "x", []],
        [{}],
        [{"index": "0", "statusCode": 400}],
        [{"index": 0.0, "statusCode": 400}],
        [{"index": True, "statusCode": 400}],
        [{"index": 0, "statusCode": "400"}],
        [{"index": 0, "statusCode": True}],
        [{"index": -1, "statusCode": 400}],
        [{"index": ITEMS, "statusCode": 400}],
        [{"index": 10**30, "statusCode": 400}],
    ],
)
def test_errors_that_speak_of_no_item_are_passed_over(errors: object) -> None:
    """Odd entries neither raise nor touch an item."""
    body = json.dumps({"itemsReceived": ITEMS, "itemsAccepted": ITEMS, "errors": errors})

    found = judged(206, body.encode())

    assert (found.accepted, found.rejected, found.retry) == (ITEMS, (), ())


def test_an_item_named_twice_is_counted_once() -> None:
    """The first word about it holds."""
    found = judged(206, answer((5, 500, "busy"), (5, 400, "103: old"), accepted=9))

    assert (found.accepted, found.retry, found.rejected) == (9, (5,), ())


@pytest.mark.parametrize(
    "message", [None, 7, ["a"], "x" * 100_000, "\ud800half", "a\x00b\x1b[31m\nc"]
)
def test_words_that_no_database_can_hold_are_made_so(message: object) -> None:
    """They go to a log, a terminal, JSON and SQLite: text without control signs or half characters."""
    error = {"index": 0, "statusCode": 10**30, "message": message}
    body = {"itemsReceived": ITEMS, "itemsAccepted": 9, "errors": [error]}

    found = judged(206, json.dumps(body).encode())

    [rejected] = found.rejected
    assert found.reason.encode()
    assert rejected.message.encode() or not message
    assert rejected.message.isprintable()
    assert len(rejected.message) <= MESSAGE_LIMIT
    assert 0 <= rejected.status <= 999


def test_a_body_that_is_not_the_service_s_is_shown_short_and_printable() -> None:
    """The start of a proxy's page helps; its control signs do not."""
    found = judged(502, b"<html>\r\n\x1b[2J bad \xff gateway" + b"x" * 10_000)

    assert found.reason.startswith("502 <html> [2J bad \ufffd gateway")
    assert len(found.reason) <= MESSAGE_LIMIT + 4


def test_deep_json_is_only_garbage() -> None:
    """A body made to break the parser is judged by its status."""
    assert judged(503, b"[" * 100_000).action is Action.RETRY
    assert judged(200, b'{"errors":' * 100_000).action is Action.BLOCKED


@pytest.mark.parametrize("status", [200, 201, 206, 400])
@pytest.mark.parametrize(
    "body", [b"<html>Sign in</html>", b"\r\n <!DOCTYPE html><title>Bad Request"]
)
def test_a_web_page_is_no_word_of_the_service(status: int, body: bytes) -> None:
    """A portal's 200 delivers nothing and a proxy's 400 rejects nothing: all is kept, and a person told."""
    found = judged(status, body)
    assert found.action is Action.BLOCKED
    assert (found.accepted, found.rejected) == (0, ())
    assert found.reason.startswith(f"{status} <")
    assert "proxy" in found.hint


def test_a_server_in_the_service_s_place_is_named() -> None:
    """Its first words, and the address: that is where to look."""
    found = judge(200, {}, b"<h1>Welcome</h1>", ITEMS, NOW, address="https://proxy.example")
    assert found.reason == "200 <h1>Welcome</h1> (from https://proxy.example)"
    found = judge(200, {}, answer((0, 400, "?")), ITEMS, NOW, address="https://proxy.example")
    assert "proxy.example" not in found.reason
