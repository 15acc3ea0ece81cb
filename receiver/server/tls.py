"""The TLS context of the web configuration.

In: a `TlsConfig`. Out: an `ssl.SSLContext` for the server's side.
"""

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from receiver.config.plain_file import read_plain
from receiver.errors import SettingsError
from receiver.server.web_config import Pem, TlsConfig

_CLIENT_AUTH = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def make_context(config: TlsConfig, source: str) -> ssl.SSLContext:
    """Make the context; `source` is the configuration's name for messages.

    Raises: SettingsError for files that cannot be read or do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.minimum_version = ssl.TLSVersion[config.min_version]
        if config.max_version:
            context.maximum_version = ssl.TLSVersion[config.max_version]
        if config.ciphers:
            context.set_ciphers(":".join(config.ciphers))
        if config.curve:
            context.set_ecdh_curve(config.curve)
        if not config.prefer_server_ciphers:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE  # Python sets it
        _load(context, config)
    except (ssl.SSLError, OSError, ValueError) as error:
        file = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{source}: tls_server_config: {file}{why}") from None
    return context


def _load(context: ssl.SSLContext, config: TlsConfig) -> None:
    with ExitStack() as stack:
        certificate = stack.enter_context(_file(config.certificate))
        key = stack.enter_context(_file(config.key))
        client_ca = stack.enter_context(_file(config.client_ca)) if config.client_ca else None
        for path in filter(None, (certificate, key, client_ca)):
            read_plain(path)  # unlike ssl's, its error names the file, and a pipe does not block it
        context.load_cert_chain(certificate, key, password=_no_password)
        if client_ca:
            context.load_verify_locations(client_ca)
            context.verify_mode = _CLIENT_AUTH[config.client_auth]


def _no_password() -> str:
    message = "the key is encrypted, and the receiver has no password for it; store it unencrypted"
    raise ValueError(message)


@contextmanager
def _file(pem: Pem) -> Iterator[Path]:
    """Yield a path; ssl reads certificates only from files, so a text is put into a private one."""
    if pem.path:
        yield pem.path
        return
    with tempfile.NamedTemporaryFile("w", prefix="receiver-", suffix=".pem") as file:
        file.write(pem.text)
        file.flush()
        yield Path(file.name)
