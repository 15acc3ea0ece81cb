"""Why there was no answer, in a sentence, and what to do: each cause has its own cure.

In: an exception of the HTTP client. Out: a cause and a hint. Looks at one thing outside: whether
the file that SSL_CERT_FILE names can be read, since OpenSSL says nothing where it cannot.
"""

import os
import socket
import ssl
from collections.abc import Mapping

from receiver.delivery.dial import CannotConnect, ProxyRefused, ProxyUnreachable
from receiver.delivery.http_client import TimedOut
from receiver.delivery.http_connection import BrokenOff

_PROXY_WANTS_A_USER = "The proxy wants credentials: put them into HTTPS_PROXY."
_PROXY_REFUSES = "The proxy does not let us through: check HTTPS_PROXY, NO_PROXY and its own log."
_PASSES = "A passing fault; the batch is sent again."
_CERTIFICATES = {
    9: ("is not valid yet", "Set this machine's clock, or the certificate's server's."),
    10: ("has expired", "It has to be renewed where it is served: Azure's own, or a proxy's that re-signs TLS. Is this machine's clock right?"),
    18: ("is signed by itself alone", "A proxy re-signs TLS, or a test server answers: name its certificate's file in SSL_CERT_FILE."),
    19: ("is signed by a CA that is not trusted here", "If a proxy re-signs TLS, name its CA's file in SSL_CERT_FILE."),
    20: ("is signed by a CA that is not known here", "If a proxy re-signs TLS, name its CA's file in SSL_CERT_FILE; otherwise install the package ca-certificates."),
    62: ("is for another name", "Check IngestionEndpoint; a proxy or a portal may answer in the service's place."),
    64: ("is for another address", "Check IngestionEndpoint; a proxy or a portal may answer in the service's place."),
}  # fmt: skip
"""What OpenSSL's verify codes mean. Source: x509_vfy.h."""
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")  # fmt: skip
_STAGES = (
    ("resolving", "The name server is silent: check /etc/resolv.conf, and whether UDP and TCP port 53 are allowed."),
    ("connecting", "A firewall drops packets without a word: allow outgoing TCP to that address."),
    ("agreeing on TLS", "Something takes connections and does not speak TLS: a firewall or proxy that inspects it, or a wrong port."),
    ("asking the proxy", "The proxy takes connections and says nothing: look at its log."),
    ("waiting", "The request was sent, and no answer came: the service is slow, or a proxy holds it back; raise RECEIVER_SEND_TIMEOUT if it is only slow."),
)  # fmt: skip


def explain(error: Exception, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Say in a sentence why there was no answer, and what to do."""
    match error:
        case TimedOut():
            words = str(error)
            hint = next((hint for stage, hint in _STAGES if f"while {stage}" in words), _PASSES)
            return words, hint
        case socket.gaierror():
            hint = "Check the name in the connection string's endpoint, and DNS; with a private link, its private DNS zone."
            return f"the host's name cannot be resolved: {error}", hint
        case ProxyRefused():
            return str(error), _PROXY_WANTS_A_USER if error.status == 407 else _PROXY_REFUSES
        case ProxyUnreachable():
            return f"the proxy cannot be reached: {error}", "Check HTTPS_PROXY and NO_PROXY."
        case CannotConnect():
            return (
                f"cannot connect: {error}",
                "Is outgoing HTTPS allowed, and is the endpoint right?",
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
    """Tell apart what is wrong with a certificate."""
    words, hint = _CERTIFICATES.get(
        error.verify_code,
        ("is not trusted", "If a proxy re-signs TLS, name its CA's file in SSL_CERT_FILE."),
    )
    path = environ.get("SSL_CERT_FILE", "")
    if path and not os.access(path, os.R_OK) and error.verify_code in (18, 19, 20):
        return (
            f"TLS failed: SSL_CERT_FILE={path} cannot be read, so no certificate is trusted",
            "Mend its path or its permissions: the receiver's user has to read it.",
        )
    return f"TLS failed: the certificate {words} ({error.verify_message})", hint


def _handshake(error: OSError) -> tuple[str, str]:
    """Tell apart how a TLS handshake ends without a certificate being looked at."""
    reason = getattr(error, "reason", "") or ""
    if reason in _NO_TLS:
        return (
            "TLS failed: what listens there does not speak TLS",
            "Is the port that of plain HTTP? An https endpoint has 443; check IngestionEndpoint.",
        )
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return (
            "TLS failed: the connection was closed during the handshake",
            "A firewall or proxy that inspects TLS refuses this name, or the server wants another version: ask who runs it.",
        )
    return (
        f"TLS failed: {reason.replace('_', ' ').lower() or error}",
        "What answers there does not agree on TLS with us: a proxy or an old server.",
    )
