"""The service's answers, status by status and item by item, as the contract has them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from receiver.azure.verdict import (
    MESSAGE_LIMIT,
    REJECT_REASONS,
    RETRY_AFTER_LIMIT_SECONDS,
    RETRYABLE,
    Action,
    Verdict,
    reason_of,
    retry_after,
    verdict,
)

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
    status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, items: int = ITEMS
) -> Verdict:
    """Judge an answer to a batch of ten."""
    found = verdict(status, headers or {}, body, items, NOW)
    if found.action is Action.SETTLE:
        ends = found.accepted + len(found.retry) + len(found.rejected) + found.unexplained
        assert ends == items, "each item has one end"
    return found


@pytest.mark.parametrize(
    ("status", "action", "hinted"),
    [
        (200, Action.SETTLE, False),
        (206, Action.RETRY, True),
        (307, Action.REDIRECT, False),
        (308, Action.REDIRECT, False),
        (400, Action.SETTLE, False),
        (401, Action.BLOCKED, True),
        (403, Action.BLOCKED, True),
        (402, Action.QUOTA, True),
        (404, Action.BLOCKED, True),
        (405, Action.BLOCKED, True),
        (407, Action.BLOCKED, True),
        (413, Action.SPLIT, False),
        (408, Action.RETRY, True),
        (429, Action.THROTTLE, True),
        (439, Action.QUOTA, True),
        (500, Action.RETRY, True),
        (502, Action.RETRY, True),
        (503, Action.RETRY, True),
        (504, Action.RETRY, True),
        (599, Action.RETRY, True),
        (301, Action.BLOCKED, True),
        (302, Action.BLOCKED, True),
        (304, Action.BLOCKED, True),
        (418, Action.BLOCKED, True),
        (451, Action.BLOCKED, True),
    ],
)
@pytest.mark.parametrize("body", [b"", b"html>", b"\xff\xfe\x00", b"[1, 2]", b"nul"])
def test_each_status_has_its_action(
    status: int,
    action: Action,
    hinted: bool,  # noqa: FBT001
    body: bytes,
) -> None:
    """Every row of the status table, whatever garbage is the body."""
    found = judged(status, body)

    assert found.action is action
    assert bool(found.hint) is hinted
    assert str(status) in found.reason


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        (401, "Entra ID"),
        (403, "Monitoring Metrics Publisher"),
        (402, "daily cap"),
        (439, "daily cap"),
        (404, "IngestionEndpoint"),
        (405, "IngestionEndpoint"),
        (407, "HTTPS_PROXY"),
        (302, "connection string"),
    ],
)
def test_what_a_person_must_set_right_is_said(status: int, fix: str) -> None:
    """The hint names the role or the setting."""
    assert fix in judged(status).hint


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


def test_a_redirect_names_its_target() -> None:
    """And one without a Location has none."""
    assert (
        judged(308, headers={"Location": "https://b/v2.1/track"}).location == "https://b/v2.1/track"
    )
    assert judged(307).location == ""


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
        ("Mon, 99 Foo 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 2027 00:00:00 +9999", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_clamped(text: str, seconds: float | None) -> None:
    """Seconds or an HTTP date, 0 to 3,600; what is neither counts as not there."""
    assert retry_after(text, NOW) == seconds


def test_200_accepts_all() -> None:
    """The everyday answer."""
    found = judged(200, answer())

    assert (found.accepted, found.rejected, found.retry, found.reason) == (ITEMS, (), (), "")


@pytest.mark.parametrize("body", [b"", b"OK", b"{}", b"null"])
def test_200_without_the_service_s_body_is_believed_and_said(body: bytes) -> None:
    """By its status alone; the reason lets the receiver count these items as unconfirmed."""
    found = judged(200, body)

    assert found.accepted == ITEMS
    assert found.reason == "200 without the service's body"


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


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_each_retryable_item_status_is_retried(status: int) -> None:
    """401, 402, 403, 408, 429, 439 and 5xx say "not now"."""
    assert judged(206, answer((0, status, "later"))).retry == (0,)


@pytest.mark.parametrize("status", [400, 404, 405, 409, 413, 418, 422, 0, 200])
def test_each_other_item_status_is_final(status: int) -> None:
    """No endless retry of what will never be taken."""
    found = judged(206, answer((0, status, "never")))

    assert found.retry == ()
    assert len(found.rejected) == 1


def test_the_retryable_statuses_are_those_of_the_contract() -> None:
    """A list that grows or shrinks by accident loses data or retries for ever."""
    assert {401, 402, 403, 408, 429, 439, 500, 502, 503, 504} == RETRYABLE


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


def test_400_that_received_nothing_rejects_the_whole_batch() -> None:
    """The body as a whole was not understood: the one error speaks of all."""
    found = judged(400, answer((0, 400, "SyntaxError: Unexpected token N"), items=0, accepted=0))

    assert [each.reason for each in found.rejected] == ["not_json"] * ITEMS


@pytest.mark.parametrize("body", [b"", b"Bad Request", b'{"error": "x"}'])
def test_400_without_the_service_s_body_rejects_all(body: bytes) -> None:
    """It would be refused again for ever; the words are kept."""
    found = judged(400, body)

    assert len(found.rejected) == ITEMS
    assert found.rejected[0].message == (body.decode() or "no reason given")


@pytest.mark.parametrize(
    "message",
    ["Invalid instrumentation key", "invalid Instrumentation Key.", "Authentication not supported"],
)
def test_a_wrong_key_keeps_the_data(message: str) -> None:
    """A person can set it right within 48 hours: nothing is thrown away until then."""
    found = judged(400, answer(*((i, 400, message) for i in range(ITEMS))))

    assert found.action is Action.BLOCKED
    assert "connection string" in found.hint


def test_413_is_split_down_to_one_item() -> None:
    """A single item that is too large is rejected, not halved for ever."""
    assert judged(413, items=2).action is Action.SPLIT
    alone = judged(413, b"Request too long", items=1)
    assert alone.action is Action.SETTLE
    assert [(each.status, each.message) for each in alone.rejected] == [(413, "Request too long")]


def test_what_the_service_counted_short_is_unexplained() -> None:
    """It says 7 of 10 and names one: two are lost without a word, and counted so."""
    found = judged(206, answer((0, 400, "103: old"), accepted=7))

    assert (found.accepted, len(found.rejected), found.unexplained) == (7, 1, 2)


@pytest.mark.parametrize("accepted", [-5, 0, 3, 10, 11, 10**30, True, None, "7", 2.5, [], {}])
@pytest.mark.parametrize("status", [200, 206, 400])
def test_a_count_that_cannot_be_still_gives_each_item_one_end(
    status: int, accepted: object
) -> None:
    """Whatever itemsAccepted holds."""
    body = {
        "itemsReceived": ITEMS,
        "itemsAccepted": accepted,
        "errors": [{"index": 1, "statusCode": 400}],
    }

    found = judged(status, json.dumps(body).encode())

    assert found.action is Action.SETTLE
    assert 0 <= found.accepted <= ITEMS - 1


@pytest.mark.parametrize(
    "errors",
    [
        None,
        7,
        "x",
        {"index": 0},
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
    body = {"itemsAccepted": 9, "errors": [{"index": 0, "statusCode": 10**30, "message": message}]}

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
    assert judged(200, b'{"errors":' * 100_000).accepted == ITEMS


@pytest.mark.parametrize("status", [200, 400])
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
