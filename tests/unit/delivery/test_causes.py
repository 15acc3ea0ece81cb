"""The cause and the hint of each exception; tests/integration/test_causes.py has real sockets."""

import socket
import ssl
from pathlib import Path

import pytest

from receiver.delivery.causes import explain
from receiver.delivery.dial import CannotConnect, ProxyRefused, ProxyUnreachable
from receiver.delivery.http_client import TimedOut


def untrusted(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "the library's words"
    return error


def handshake(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "handshake")
    error.reason = reason
    return error


CASES = [
    (TimedOut("no answer within 30 s, while resolving host"), "while resolving", "resolv.conf"),
    (TimedOut("no answer within 30 s, while connecting to host:443"), "connecting", "firewall"),
    (TimedOut("no answer within 30 s, while negotiating TLS"), "negotiating TLS", "does not speak TLS"),
    (TimedOut("no answer within 30 s, while asking the proxy"), "asking the proxy", "see its log"),
    (TimedOut("no answer within 30 s, while waiting for the answer"), "waiting", "RECEIVER_SEND_TIMEOUT"),
    (TimedOut("no answer within 30 s"), "no answer", "transient"),
    (socket.gaierror(-2, "Name or service not known"), "cannot be resolved", "DNS"),
    (ProxyRefused(407, "407 of the proxy"), "407 of the proxy", "credentials"),
    (ProxyRefused(403, "403 of the proxy"), "403 of the proxy", "NO_PROXY"),
    (ProxyUnreachable("refused"), "the proxy cannot be reached: refused", "HTTPS_PROXY"),
    (CannotConnect("refused"), "cannot connect: refused", "outgoing HTTPS"),
    (untrusted(9), "is not valid yet (the library's words)", "clocks"),
    (untrusted(10), "has expired", "clock"),
    (untrusted(18), "is self-signed", "SSL_CERT_FILE"),
    (untrusted(19), "a CA that is not trusted", "SSL_CERT_FILE"),
    (untrusted(20), "an unknown CA", "ca-certificates"),
    (untrusted(62), "for another name", "IngestionEndpoint"),
    (untrusted(64), "for another address", "IngestionEndpoint"),
    (untrusted(1), "is not trusted", "SSL_CERT_FILE"),
    (handshake("WRONG_VERSION_NUMBER"), "does not speak TLS", "plain HTTP"),
    (handshake("NO_SHARED_CIPHER"), "TLS failed: no shared cipher", "cipher"),
    (handshake(""), "TLS failed: ", "cipher"),
    (ssl.SSLEOFError(8, "EOF"), "closed during the handshake", "firewall"),
    (ConnectionResetError(104, "reset"), "closed during the handshake", "firewall"),
    (ValueError("an invalid header"), "ValueError: an invalid header", "transient"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "cause", "hint"), CASES, ids=lambda case: str(case)[:40])
def test_each_exception_has_a_cause_and_a_hint(error: Exception, cause: str, hint: str) -> None:
    """What an operator has to look at."""
    found, advice = explain(error, {})
    assert cause in found
    assert hint in advice


@pytest.mark.parametrize(("code", "is_named"), [(18, True), (19, True), (20, True), (10, False)])
def test_an_unreadable_file_of_cas_is_the_cause_where_it_can_be(
    tmp_path: Path,
    code: int,
    is_named: bool,  # noqa: FBT001 - a case
) -> None:
    """OpenSSL ignores it silently; an expired certificate has expired all the same."""
    missing = str(tmp_path / "missing.pem")
    cause, _ = explain(untrusted(code), {"SSL_CERT_FILE": missing})
    assert (f"SSL_CERT_FILE={missing} cannot be read" in cause) is is_named


def test_a_readable_file_of_cas_is_not_the_cause(tmp_path: Path) -> None:
    """The certificate is."""
    path = tmp_path / "ca.pem"
    path.touch()
    cause, _ = explain(untrusted(20), {"SSL_CERT_FILE": str(path)})
    assert "an unknown CA" in cause
