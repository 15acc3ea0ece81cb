"""Requests from the commands to the running receiver, by default the one configured here.

In: settings, and an address if one is given. Out: its JSON, or `NoAnswer`. Uses https where
the web configuration enables TLS, and the configured bearer token; the configured
certificate is trusted whatever host name it holds. The token is sent only to the
configured address, or over https; `ask_others` sends it to each address that it is given.
"""

import argparse
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from receiver.cli.fetch import get_json
from receiver.config.plain_file import read_plain
from receiver.config.settings import Address, Settings, load_allowlist, read_path
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Entry
from receiver.server.web_config import WebConfig, parse

Ask = Callable[..., dict[str, Any]]
"""GETs a path; `keys` must be in the answer. Raises: NoAnswer."""
EVERY_ADDRESS = {"0.0.0.0", "::", ""}  # noqa: S104 - compared, not bound


def ask_running(given: argparse.Namespace, settings: Settings) -> Ask:
    """Return a function that asks the receiver at the given address, or at the configured one.

    Raises: SettingsError for a --user-file that cannot be used.
    """
    web, token = _credentials(settings)
    own = _url(settings, web)
    if given.receiver:
        url, context = given.receiver.rstrip("/"), None
        if not (url.startswith("https://") or _origin(url) == _origin(own)):
            token = ""
    else:
        url, context = own, _trust(web)
    user = _user(given.user_file) if given.user_file else ""

    def ask(path: str, *keys: str) -> dict[str, Any]:
        return get_json(f"{url}{path}", *keys, token=token, context=context, user=user)

    return ask


def ask_others(given: argparse.Namespace, settings: Settings) -> Ask:
    """Return a function that asks receivers at full addresses, with this configuration's credentials.

    `document` is POSTed. Raises: SettingsError for a --user-file that cannot be used.
    """
    web, token = _credentials(settings)
    context = _trust(web)
    user = _user(given.user_file) if given.user_file else ""

    def ask(url: str, *keys: str, document: Any = None) -> dict[str, Any]:
        return get_json(url, *keys, token=token, context=context, user=user, document=document)

    return ask


def running_entries(settings: Settings, status: dict[str, Any]) -> tuple[list[Entry], str]:
    """Return the running receiver's entries and their file, from its /api/v1/status.

    The status holds only names; if the file configured here has the same, its entries are returned.
    """
    names, file = status["metrics_json"]["names"], status["metrics_json"]["file"]
    with suppress(SettingsError):
        entries = list(load_allowlist(settings).entries)
        if [entry.name for entry in entries] == list(names):
            return entries, file
    return [Entry(name) for name in names], file


def _user(file: str) -> str:
    """Read user:password from a file's first line. Raises: SettingsError, without the password."""
    try:
        lines = read_plain(read_path(file)).decode().splitlines()
    except OSError as error:
        raise SettingsError(f"--user-file {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"--user-file {file}: not UTF-8") from None
    if not lines or ":" not in lines[0]:
        raise SettingsError(f"--user-file {file}: its first line is not user:password")
    return lines[0]


def _origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port, with one host for all loopback names; empty for an invalid address."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        return "", "", None
    return scheme, "127.0.0.1" if host in {"localhost", "::1"} else host, port


def _credentials(settings: Settings) -> tuple[WebConfig, str]:
    """Read the receiver's web configuration and token; `check` reports unreadable files."""
    web, token = WebConfig(), ""
    with suppress(OSError, ValueError, SettingsError):
        if settings.bearer_token_file:
            token = read_plain(read_path(settings.bearer_token_file)).decode().strip()
    with suppress(OSError, ValueError, SettingsError):
        if settings.web_config_file:
            path = read_path(settings.web_config_file)
            web = parse(read_plain(path).decode(), path)
    return web, token


def _url(settings: Settings, web: WebConfig) -> str:
    host = "127.0.0.1" if settings.listen.host in EVERY_ADDRESS else settings.listen.host
    return f"http{'s' if web.tls else ''}://{Address(host, settings.listen.port)}"


def _trust(web: WebConfig) -> ssl.SSLContext | None:
    """Trust only the certificate that the receiver is configured with."""
    if not web.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with suppress(OSError, ValueError):  # without it the TLS handshake fails with a clear message
        certificate = web.tls.certificate
        text = certificate.path.read_text() if certificate.path else certificate.text
        context.load_verify_locations(cadata=text)
    return context
