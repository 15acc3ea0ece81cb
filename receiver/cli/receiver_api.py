"""The receiver that runs, as the commands ask it: the one that their own settings describe.

In: settings, and the address that was given, if one was. Out: its JSON, or `NoAnswer`. It
is asked over https where the web configuration has TLS on, and with the bearer token that
it asks for itself; on this machine it is known by its certificate, whatever name that bears.
"""

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from receiver.cli.fetch import get_json
from receiver.config.settings import Address, Settings, place
from receiver.errors import SettingsError
from receiver.server.web_config import WebConfig, parse

Ask = Callable[..., dict[str, Any]]
"""Asks for a path; `keys` must be in the answer. Raises: NoAnswer."""


def ask_running(given: str | None, settings: Settings) -> Ask:
    """Make what asks the receiver at the address given, or where this configuration listens."""
    web, token = _credentials(settings)
    if given:
        url, context = given.rstrip("/"), None
    else:
        url, context = _url(settings, web), _trust(web)

    def ask(path: str, *keys: str) -> dict[str, Any]:
        return get_json(f"{url}{path}", *keys, token=token, context=context)

    return ask


def _credentials(settings: Settings) -> tuple[WebConfig, str]:
    """Read what the receiver asks for, as far as it can be read: `check` says what is wrong."""
    web, token = WebConfig(), ""
    with suppress(OSError, ValueError, SettingsError):
        if settings.bearer_token_file:
            token = place(settings.bearer_token_file).read_text().strip()
    with suppress(OSError, ValueError, SettingsError):
        if settings.web_config_file:
            path = place(settings.web_config_file)
            web = parse(path.read_text(encoding="utf-8"), path)
    return web, token


def _url(settings: Settings, web: WebConfig) -> str:
    host = settings.listen.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound
        host = "127.0.0.1"
    return f"http{'s' if web.tls else ''}://{Address(host, settings.listen.port)}"


def _trust(web: WebConfig) -> ssl.SSLContext | None:
    """Trust the very certificate that the receiver is configured with, and none else."""
    if not web.tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with suppress(OSError, ValueError):  # then it is trusted by nobody, and the answer says so
        certificate = web.tls.certificate
        text = certificate.path.read_text() if certificate.path else certificate.text
        context.load_verify_locations(cadata=text)
    return context
