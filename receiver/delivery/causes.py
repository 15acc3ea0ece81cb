"""The causes of a missing answer, each with a hint.

In: an exception of the HTTP client. Out: a cause and a hint. Checks on the disk only whether
the file in SSL_CERT_FILE is readable, since OpenSSL ignores one that is not.
"""

import os
import socket
import ssl
from collections.abc import Mapping

from receiver.delivery.dial import CannotConnect, ProxyRefused, ProxyUnreachable
from receiver.delivery.http_client import TimedOut
from receiver.delivery.http_connection import BrokenOff

_PROXY_CREDENTIALS = "The proxy requires credentials: put them into HTTPS_PROXY."
_PROXY_REFUSES = (
    "The proxy refuses the connection: check HTTPS_PROXY, NO_PROXY and the proxy's log."
)
_PASSES = "A transient fault; the batch is sent again."
_CERTIFICATES = {
    9: ("is not valid yet", "Check the clocks of this machine and of the server."),
    10: ("has expired", "Renew it on its server, which is Azure's or a proxy that re-signs TLS; and check this machine's clock."),
    18: ("is self-signed", "A proxy re-signs TLS, or a test server answers: put its certificate into a file, and set SSL_CERT_FILE to that."),
    19: ("is signed by a CA that is not trusted", "If a proxy re-signs TLS, set SSL_CERT_FILE to its CA's file."),
    20: ("is signed by an unknown CA", "If a proxy re-signs TLS, set SSL_CERT_FILE to its CA's file; otherwise install the package ca-certificates."),
    62: ("is for another name", "Check IngestionEndpoint; a proxy or a portal may answer instead of the service."),
    64: ("is for another address", "Check IngestionEndpoint; a proxy or a portal may answer instead of the service."),
}  # fmt: skip
"""OpenSSL's verify codes. Source: x509_vfy.h."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")  # fmt: skip
_STAGES = (
    ("resolving", "The name server does not answer: check /etc/resolv.conf, and that UDP and TCP port 53 are allowed."),
    ("connecting", "A firewall drops packets silently: allow outgoing TCP to that address."),
    ("negotiating TLS", "The server accepts connections but does not speak TLS: a firewall or proxy that inspects TLS, or a wrong port."),
    ("asking the proxy", "The proxy accepts connections but does not answer: see its log."),
    ("waiting", "The request was sent, but no answer came: the service is slow, or a proxy withholds the answer; if it is only slow, raise RECEIVER_SEND_TIMEOUT."),
)  # fmt: skip


def explain(error: Exception, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return why there was no answer, and a hint."""
    match error:
        case TimedOut():
            words = str(error)
            hint = next((hint for stage, hint in _STAGES if f"while {stage}" in words), _PASSES)
            return words, hint
        case socket.gaierror():
            hint = "Check the host name in the connection string's endpoint, and DNS; with a private link, the private DNS zone."
            return f"the host's name cannot be resolved: {error}", hint
        case ProxyRefused():
            return str(error), _PROXY_CREDENTIALS if error.status == 407 else _PROXY_REFUSES
        case ProxyUnreachable():
            return f"the proxy cannot be reached: {error}", "Check HTTPS_PROXY and NO_PROXY."
        case CannotConnect():
            return (
                f"cannot connect: {error}",
                "Check that outgoing HTTPS is allowed, and that the endpoint is right.",
            )
        case BrokenOff():
            return f"the connection broke: {error}", _PASSES
        case ssl.SSLCertVerificationError():
            return _certificate(error, environ)
        case ssl.SSLError() | ConnectionError():
            return _handshake(error)
    return f"{type(error).__name__}: {error}", _PASSES


def _certificate(
    error: ssl.SSLCertVerificationError, environ: Mapping[str, str]
) -> tuple[str, str]:
    """Return a certificate's defect, and a hint."""
    words, hint = _CERTIFICATES.get(
        error.verify_code,
        ("is not trusted", "If a proxy re-signs TLS, set SSL_CERT_FILE to its CA's file."),
    )
    path = environ.get("SSL_CERT_FILE", "")
    if path and not os.access(path, os.R_OK) and error.verify_code in (18, 19, 20):
        return (
            f"TLS failed: SSL_CERT_FILE={path} cannot be read, so no certificate is trusted",
            "Correct the path or its permissions: the receiver's user must be able to read it.",
        )
    return f"TLS failed: the certificate {words} ({error.verify_message})", hint


def _handshake(error: OSError) -> tuple[str, str]:
    """Return why a TLS handshake failed before the check of the certificate, and a hint."""
    reason = getattr(error, "reason", "") or ""
    if reason in _NO_TLS:
        return (
            "TLS failed: the server does not speak TLS",
            "The port may be for plain HTTP; https uses 443. Check IngestionEndpoint.",
        )
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return (
            "TLS failed: the connection was closed during the handshake",
            "A firewall or proxy that inspects TLS refuses this name, or the server requires another TLS version: ask its operator.",
        )
    return (
        f"TLS failed: {reason.replace('_', ' ').lower() or error}",
        "The server and the receiver have no common TLS version or cipher: it is a proxy or an old server.",
    )
