"""Connection strings are read as people write them, and what is wrong is said without the key."""

import pytest

from receiver.azure.connection_string import (
    GLOBAL_ENDPOINT,
    LENGTH_LIMIT,
    check_endpoint,
    check_key,
    parse,
)
from receiver.errors import SettingsError

KEY = "12345678-9abc-def0-1234-56789abcdef0"
HOST = "https://westeurope-5.in.applicationinsights.azure.com"


@pytest.mark.parametrize(
    "text",
    [
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST}/",
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST}/;",
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST};;",
        f" InstrumentationKey = {KEY} ; IngestionEndpoint = {HOST}/ ",
        f"instrumentationkey={KEY};INGESTIONENDPOINT={HOST}",
        f"IngestionEndpoint={HOST}//;InstrumentationKey={KEY.upper()}",
        f'"InstrumentationKey={KEY};IngestionEndpoint={HOST}/"',
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST}/v2.1/track",
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST}/v2/track/",
        f"InstrumentationKey={KEY}\n;IngestionEndpoint={HOST}\r\n",
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST};EndpointSuffix=else.where;Location=x",
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST};Authorization=ikey;LiveEndpoint=https://l/",
        f"InstrumentationKey={KEY};IngestionEndpoint={HOST};ApplicationId=1;AADAudience=",
    ],
)
def test_each_way_to_write_it_means_the_same(text: str) -> None:
    """Order, case, spaces, quotes, slashes and empty parts make no difference."""
    found = parse(text)

    assert found.instrumentation_key == KEY
    assert found.track_url == f"{HOST}/v2.1/track"
    assert found.unknown == ()
    assert not found.is_plain


@pytest.mark.parametrize(
    ("rest", "endpoint"),
    [
        ("", GLOBAL_ENDPOINT),
        (";Location=weu", GLOBAL_ENDPOINT),
        (";EndpointSuffix=", GLOBAL_ENDPOINT),
        (";EndpointSuffix=applicationinsights.azure.cn", "https://dc.applicationinsights.azure.cn"),
        (";EndpointSuffix=.ai.contoso.com.;Location=weu.", "https://weu.dc.ai.contoso.com"),
        (";IngestionEndpoint=http://127.0.0.1:9202", "http://127.0.0.1:9202"),
        (";IngestionEndpoint=https://gate.example/a/b/", "https://gate.example/a/b"),
    ],
)
def test_the_endpoint_follows_from_what_is_there(rest: str, endpoint: str) -> None:
    """IngestionEndpoint, else EndpointSuffix with a Location, else the global endpoint."""
    assert parse(f"InstrumentationKey={KEY}{rest}").endpoint == endpoint


def test_unknown_keys_are_ignored_and_named() -> None:
    """A newer portal may add keys; a typing error must not go unseen."""
    found = parse(f"InstrumentationKey={KEY};IngestionEndpiont={HOST};Colour=red=blue")

    assert found.unknown == ("ingestionendpiont", "colour")
    assert found.endpoint == GLOBAL_ENDPOINT


def test_the_audience_is_kept() -> None:
    """Sovereign clouds name another audience for tokens."""
    assert parse(f"InstrumentationKey={KEY};AADAudience=https://monitor.azure.us/").audience == (
        "https://monitor.azure.us/"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no InstrumentationKey"),
        (";;", "has no InstrumentationKey"),
        (f"IngestionEndpoint={HOST}", "has no InstrumentationKey"),
        (f"InstrumentationKey=;IngestionEndpoint={HOST}", "has no InstrumentationKey"),
        (KEY, "is a bare key; write InstrumentationKey=…, or set INSTRUMENTATION_KEY"),
        (f"  {KEY.upper()};", "is a bare key"),
        (f"{KEY};IngestionEndpoint={HOST}", "is a bare key"),
        (f"InstrumentationKey={KEY}0", "the instrumentation key is not a GUID"),
        (f"InstrumentationKey={KEY},IngestionEndpoint={HOST}", "the instrumentation key is not a GUID"),
        ("InstrumentationKey=my-key", "the instrumentation key is not a GUID"),
        (f"InstrumentationKey={KEY};{KEY}x", 'part 2 is not "Key=value"'),
        (f"InstrumentationKey={KEY};InstrumentationKey={KEY}", "InstrumentationKey occurs twice"),
        (f"InstrumentationKey={KEY};instrumentationkey={KEY}", "occurs twice"),
        (f"InstrumentationKey={KEY};Authorization=aad", 'Authorization is "aad"; the only valid value is "ikey"'),
        (f"InstrumentationKey={KEY};IngestionEndpoint=westeurope", 'IngestionEndpoint is "westeurope", not an address'),
        (f"InstrumentationKey={KEY};IngestionEndpoint=ftp://a/", 'IngestionEndpoint is "ftp://a/"'),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://", "not an address"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://a:b/", "not an address"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://a/?x=1", "not an address"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://[::1/", "not an address"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://me:hunter2@proxy/", "not an address"),
        (f"InstrumentationKey={KEY};EndpointSuffix=a b:c", "EndpointSuffix is"),
        (f"InstrumentationKey={KEY};EndpointSuffix=https://weu.in.ai.azure.com/", "an address goes into IngestionEndpoint"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://{KEY}@host/", "not an address"),
        (f"InstrumentationKey=x;IngestionEndpoint=wss://{KEY}.example", "the instrumentation key is not a GUID"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=wss://{KEY}.example", "not an address"),
        (f"InstrumentationKey={KEY};Authorization={KEY}", "only"),
        (f"InstrumentationKey={KEY};{KEY}=1;{KEY}=2", "occurs twice"),
        (f"InstrumentationKey={KEY};Padding={'x' * LENGTH_LIMIT}", "the limit is 4096"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_without_the_key(text: str, said: str) -> None:
    """The message names the source and the mistake; it goes to logs, so the key is not in it."""
    with pytest.raises(SettingsError) as refused:
        parse(text, "MY_VARIABLE")

    message = str(refused.value)
    assert message.startswith("MY_VARIABLE")
    assert said in message
    assert KEY not in message.lower()
    assert "hunter2" not in message
    assert len(message) < 400


def test_a_key_by_itself_is_trimmed_and_lowered() -> None:
    """INSTRUMENTATION_KEY is read as kindly as the connection string."""
    assert check_key(f" {KEY.upper()}\n", "INSTRUMENTATION_KEY") == KEY


@pytest.mark.parametrize(
    ("endpoint", "plain"),
    [
        ("http://collector.example", True),
        ("http://10.0.0.1:80", True),
        ("https://collector.example", False),
        ("http://127.0.0.1:9202", False),
        ("http://localhost:9202", False),
        ("http://[::1]:9202", False),
    ],
)
def test_only_http_over_a_network_is_plain(endpoint: str, plain: bool) -> None:  # noqa: FBT001
    """Loopback needs no encryption; everything else gets a warning without it."""
    found = parse(f"InstrumentationKey={KEY};IngestionEndpoint={endpoint}")

    assert found.is_plain is plain


def test_a_path_that_only_looks_like_the_track_path_stays() -> None:
    """Only a whole /v2/track or /v2.1/track at the end is taken off."""
    assert check_endpoint("https://a/xv2.1/track", "x") == "https://a/xv2.1/track"
    assert check_endpoint("https://a/v2.1/track/b", "x") == "https://a/v2.1/track/b"


@pytest.mark.parametrize(
    ("rest", "is_global"),
    [("", True), (";Location=weu", True), (f";IngestionEndpoint={HOST}", False), (";EndpointSuffix=a.us", False)],
)  # fmt: skip
def test_a_string_that_names_no_endpoint_says_so(rest: str, is_global: bool) -> None:  # noqa: FBT001
    """A string cut short after its key passes as one: `check` warns of it."""
    assert parse(f"InstrumentationKey={KEY}{rest}").is_global is is_global
