"""Whatever comes in, the answer is a result or an error that is understood."""

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import orjson
import snappy
from hypothesis import example, given
from hypothesis import strategies as st

from receiver.azure import connection_string as connection
from receiver.azure.envelope import Identity
from receiver.azure.policy import Action
from receiver.azure.redirect import Endpoint
from receiver.azure.rejections import REJECT_REASONS
from receiver.azure.verdict import judge, retry_after
from receiver.config import settings
from receiver.delivery.backoff import Backoff
from receiver.errors import InvalidSeries, RequestRefused, SettingsError
from receiver.intake import metrics_json as allowlist
from receiver.intake.decode import Message, decode, decompress
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline
from receiver.server.negotiation import negotiate
from receiver.text import read_size
from tests.golden import make
from tests.property.strategies import Sent, requests

KEY = "12345678-9abc-def0-1234-56789abcdef0"
LIMIT = 1 << 20
Result = TypeVar("Result")
Error = TypeVar("Error", bound=Exception)
messages = st.sampled_from(Message)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["103: too old", "Telemetry sampled out.", "\ud800", 400, 429, 206]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def tried(call: Callable[[], Result], error: type[Error]) -> Result | Error:
    """Return what a call returns, or the one kind of error that it may raise."""
    try:
        return call()
    except error as raised:
        return raised


def take(raw: bytes, message: Message) -> None:
    """Run bytes through decode, select and render; only a refusal may come out of it."""
    everything = Pipeline(Allowlist([Entry("*")]), Identity(KEY, "host"), 10_000)
    intake = tried(lambda: everything.process(raw, message), RequestRefused)
    if isinstance(intake, RequestRefused):
        assert intake.status in (400, 413)
        assert str(intake)
        return
    assert intake.received == intake.unselected + intake.dropped.total() + len(intake.lines)
    for line in intake.lines:
        orjson.loads(line)


@given(st.binary(max_size=200), messages)
@example(b"\x0a\x00", Message.V1)
@example(b"\x2a\x00", Message.V2)
@example(b"\x2a\x04\x0a\x02\xff\x7f", Message.V2)
def test_any_bytes_are_refused_or_taken(raw: bytes, message: Message) -> None:
    """A decompressed body can hold anything."""
    take(raw, message)
    with contextlib.suppress(RequestRefused):
        for series in decode(raw, message):
            with contextlib.suppress(InvalidSeries):
                series.label_pairs()


@given(
    requests(),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_a_request_that_was_garbled_is_refused_or_taken(
    sent: Sent, flips: list[tuple[int, int]]
) -> None:
    """Near misses reach deeper than noise."""
    garbled = bytearray(sent.raw)
    for place, bits in flips:
        if garbled:
            garbled[place % len(garbled)] ^= bits

    for message in Message:
        take(bytes(garbled), message)


@given(requests(), st.integers(0, 10_000), messages)
def test_a_request_that_was_cut_off_is_refused_or_taken(
    sent: Sent, at: int, message: Message
) -> None:
    """As a connection leaves it that breaks."""
    take(sent.raw[: at % (len(sent.raw) + 1)], message)


@given(st.binary(max_size=100), st.booleans(), st.binary(max_size=10))
def test_any_body_is_refused_or_decompressed(body: bytes, real: bool, behind: bytes) -> None:  # noqa: FBT001
    """Snappy, nearly snappy, and noise; never more than the limit."""
    sent = bytes(snappy.compress(body)) + behind if real else body

    raw = tried(lambda: decompress(sent, 64), RequestRefused)
    if isinstance(raw, RequestRefused):
        assert raw.status in (400, 413)
    else:
        assert len(raw) <= 64
        assert not real or raw == body


@given(st.binary(max_size=300))
def test_snappy_of_anything_comes_back(raw: bytes) -> None:
    """By two encoders."""
    for body in (bytes(snappy.compress(raw)), make.snap(raw)):
        assert decompress(body, LIMIT) == raw


@given(st.text(max_size=60), st.sampled_from(["", "snappy", "gzip"]) | st.text(max_size=10))
@example("application/x-protobuf;" * 1000, "")
@example('application/x-protobuf;proto="' + "\\" * 1000, "")
@example(";proto=\udcff", "")
@example("", "\udcff")
def test_any_headers_are_refused_or_understood(content_type: str, encoding: str) -> None:
    """415 with words that can be sent, or a message."""
    for text in (content_type, f"application/x-protobuf{content_type}"):
        found = tried(lambda text=text: negotiate(text, encoding), RequestRefused)  # type: ignore[misc]
        assert isinstance(found, Message) or (found.status == 415 and str(found).encode())


@given(json_values | st.dictionaries(st.just("customMetrics"), json_values), st.booleans())
def test_any_metrics_json_is_refused_or_read(document: object, pretty: bool) -> None:  # noqa: FBT001
    """With a message that names the file."""
    text = json.dumps(document, indent=2 if pretty else None, ensure_ascii=False)
    found = tried(lambda: allowlist.parse(text, "file.json"), SettingsError)
    if isinstance(found, SettingsError):
        assert str(found).startswith("file.json")
    else:
        list(found.suspicions())
        assert found.entries


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_file_is_refused_or_read(text: str | bytes) -> None:
    """Not JSON, not UTF-8, not what was meant."""
    found = tried(lambda: allowlist.parse(text, "file.json"), SettingsError)
    assert isinstance(found, Allowlist) or str(found).startswith("file.json")


parts = st.sampled_from(
    ["InstrumentationKey", "IngestionEndpoint", "EndpointSuffix", "Location", "Authorization", KEY, "=", ";", " ", "https://", "a.example", "/", ":", "@", "[", "?", "ikey", "\n"]
)  # fmt: skip


@given(st.lists(parts | st.text(max_size=3), max_size=14).map("".join))
def test_any_connection_string_is_refused_or_read(text: str) -> None:
    """And no message of it holds the key."""
    found = tried(lambda: connection.parse(text), SettingsError)
    if isinstance(found, SettingsError):
        assert KEY not in str(found)
    else:
        assert found.instrumentation_key == KEY
        assert found.track_url.startswith(("http://", "https://"))
        assert found.track_url.endswith("/v2.1/track")
        assert KEY not in "".join(found.unknown)


@given(st.text(max_size=12) | st.from_regex(r"\A[0-9.]{1,5} ?[a-zA-Z]{0,3}\Z"))
def test_any_value_of_a_setting_is_refused_or_read(text: str) -> None:
    """A value, or a ValueError with words."""
    for read in (
        settings.read_address,
        read_size,
        settings.read_seconds,
        settings.read_count,
    ):
        with contextlib.suppress(ValueError):
            assert read(text) is not None


@given(
    st.integers(200, 599) | st.sampled_from([200, 206, 400, 413, 429]),
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {},
        optional={
            "itemsReceived": st.integers(0, 10) | json_values,
            "itemsAccepted": st.integers(-3, 20) | json_values,
            "errors": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "index": st.integers(-2, 12) | json_values,
                        "statusCode": st.sampled_from([400, 429, 500]) | json_values,
                        "message": json_values,
                    },
                ),
                max_size=6,
            ),
        },
    ).map(lambda value: json.dumps(value).encode()),
    st.integers(1, 10),
    st.dictionaries(st.sampled_from(["Retry-After", "Location"]), st.text(max_size=10)),
)
def test_any_answer_gives_each_item_one_end(
    status: int, body: bytes, items: int, headers: Mapping[str, str]
) -> None:
    """Nothing is counted twice or forgotten, whatever the service, or who stands for it, says."""
    found = judge(status, headers, body, items, 1.8e9)

    assert found.reason.encode().decode() == found.reason
    if found.action is Action.SETTLE:
        rejected = [each.index for each in found.rejected]
        assert found.accepted + len(found.retry) + len(rejected) + found.unexplained == items
        assert min(found.accepted, found.unexplained) >= 0
        assert len({*found.retry, *rejected}) == len(found.retry) + len(rejected)
        assert all(0 <= index < items for index in (*found.retry, *rejected))
        assert all(
            each.reason in REJECT_REASONS and each.message.encode() is not None
            for each in found.rejected
        )
        assert found.by_the_service, "only the service accepts or rejects"
    assert found.action is not Action.SPLIT or items > 1


@given(
    st.text(max_size=30)
    | st.from_regex(r"\A(\w{3}, )?\d{1,2} \w{3} \d{1,5} [\d:.]{1,9} ?([+-]\d{1,5}|GMT|\w{1,4})?\Z")
)
def test_any_retry_after_is_a_time_or_none(text: str) -> None:
    """Never an exception, never a wait without end."""
    found = retry_after(text, 1.8e9)

    assert found is None or 0 <= found <= 3600


@given(st.text(max_size=40), st.text(max_size=20))
def test_any_redirect_stays_with_whom_we_trust(location: str, cache_control: str) -> None:
    """Followed to the same host, or not at all."""
    start = "https://gate.example/v2.1/track"
    for target in (
        location,
        f"https://{location}",
        f"//{location}",
        f"https://gate.example{location}",
    ):
        route = Endpoint(start, lambda: 1.0)
        if route.follow(target, cache_control):
            assert route.url.lower().startswith("https://gate.example")
            host, _, _ = route.url.removeprefix("https://").lower().partition("/")
            assert "@" not in host.partition("?")[0].partition("#")[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Action.RETRY, Action.THROTTLE, Action.QUOTA, Action.BLOCKED]),
            st.floats(0, 100),
            st.floats(0, 100),
            st.none() | st.floats(0, 3600),
        ),
        min_size=1,
        max_size=20,
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_any_failure_closes_the_way_for_a_while(
    failures: list[tuple[Action, float, float, float | None]], chance: float
) -> None:
    """For a time that is neither nothing nor for ever, whatever came before."""
    backoff = Backoff(lambda: chance)
    now = 0.0
    for action, passed, lasted, told in failures:
        now += passed
        backoff.failed(action, now, now - lasted, told)
        wait = backoff.wait_seconds(now)
        assert 0.07 <= wait <= 3600 + 2250
        assert math.isfinite(backoff.state.until)
        assert backoff.at_once(4) == 1
    assert backoff.succeeded()
    assert backoff.wait_seconds(now) == 0.0
