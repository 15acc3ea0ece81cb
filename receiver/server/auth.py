"""Authentication: TLS, client certificates, basic authentication, bearer tokens.

In: the web configuration and the token's file, read again when they change. Out: a request
passes, or is refused without details. Comparisons take constant time; bcrypt runs in a
thread of its own, one password at a time, and correct passwords are cached.

Rules: prometheus/exporter-toolkit; RFC 7617 and RFC 6750.
"""

import asyncio
import base64
import binascii
import hmac
import ipaddress
import os
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt

from receiver.config.followed_file import FollowedFile
from receiver.config.plain_file import read_plain
from receiver.config.settings import Address, read_path
from receiver.errors import Forbidden, Overloaded, SettingsError, Unauthorized
from receiver.server.tls import make_context
from receiver.server.web_config import WebConfig, parse

BCRYPT_BYTES = 72
"""bcrypt uses this many bytes of a password; Go's implementation ignores the rest too."""
WAITING_MAX = 16
"""Passwords that may wait to be checked: about a second, at 60 ms a password."""
REMEMBERED_MAX = 1000
DUMMY_SALT = b"fsoi/x8GMMkE9G7JnVmIW."
"""The salt of hashes that are computed only to spend time."""
DEFAULT_COST = 10
TOKEN_LIMIT = 16384


@dataclass(frozen=True, slots=True)
class Rules:
    """The access rules of the files as last read."""

    web: WebConfig = field(default_factory=WebConfig)
    context: ssl.SSLContext | None = None
    token: bytes = field(default=b"", repr=False)

    @property
    def ask_credentials(self) -> bool:
        """Whether a request needs credentials."""
        return bool(self.web.users or self.token)

    @property
    def ask_nothing(self) -> bool:
        """Whether anyone who reaches the listener may write and read."""
        certificates = self.web.tls is not None and self.web.tls.client_auth == "required"
        return not self.ask_credentials and not certificates

    @property
    def keys(self) -> Sequence[Path]:
        """The files of private keys."""
        return [self.web.tls.key.path] if self.web.tls and self.web.tls.key.path else []

    @property
    def challenge(self) -> str:
        """The value of WWW-Authenticate: the accepted schemes.

        A browser supports only the first: there the token is a password, with any user's name.
        """
        ways = ['Basic realm="appinsights-receiver"'] + ["Bearer"] * bool(self.token)
        return ", ".join(ways)


def read_rules(web_config_file: str, bearer_token_file: str) -> tuple[Rules, list[Path]]:
    """Read both files, and return the paths of all files read. Raises: SettingsError, without secrets."""
    files = [read_path(path) for path in (web_config_file, bearer_token_file) if path]
    web, context, token = WebConfig(), None, b""
    if web_config_file:
        path = read_path(web_config_file)
        web = parse(_text(path), path)
        if web.tls:
            context = make_context(web.tls, str(path))
            files += web.tls.files
    if bearer_token_file:
        token = _text(read_path(bearer_token_file)).strip().encode()
        if not token or len(token) > TOKEN_LIMIT:
            raise SettingsError(f"{bearer_token_file}: the file contains no valid token")
    return Rules(web, context, token), files


def exposure(listen: Address, rules: Rules) -> str:
    """Return a warning if anyone who reaches `listen` may write and read; else an empty text."""
    if is_loopback(listen.host) or not rules.ask_nothing:
        return ""
    return f"{listen} is reachable from other machines without credentials: see docs/access.md"


def is_loopback(host: str) -> bool:
    """Whether an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_weaker(new: Rules, old: Rules) -> None:
    """Refuse rules that are weaker than those in force.

    A file truncated by an editor, a full disk or `cp` reads as weaker rules; a restart accepts
    them.

    Raises: SettingsError, which names the requirement that would be dropped.
    """
    if lost := _weakened(new, old):
        raise SettingsError(
            f"the new rules are weaker than those in force: {lost}; if that is intended, restart the receiver"
        )


def _weakened(new: Rules, old: Rules) -> str:
    if old.ask_credentials and not new.ask_credentials:
        return "no users and no token"
    if old.token != new.token and new.token and old.token.startswith(new.token):
        return "the token is a prefix of the previous one"
    if old.web.tls is None:
        return ""
    if new.web.tls is None:
        return "no TLS"
    before, after = old.web.tls, new.web.tls
    kinds = ("none", "optional", "required")
    if kinds.index(after.client_auth) < kinds.index(before.client_auth):
        return "client certificates are not requested" if after.client_auth == "none" else "client certificates are optional"  # fmt: skip
    if before.client_allowed_sans and not after.client_allowed_sans:
        return "a client certificate may have any name"
    if after.min_version < before.min_version:
        return f"TLS from {after.min_version} on"
    return ""


def _text(path: Path) -> str:
    try:
        return read_plain(path).decode()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8") from None


class Access:
    """The check of every request's credentials."""

    def __init__(
        self, web_config_file: str, bearer_token_file: str, clock: Callable[[], float]
    ) -> None:
        """Read the files. `clock` is in seconds since the epoch. Raises: SettingsError."""
        self.file = FollowedFile(
            "web.config.file" if web_config_file else "the token's file",
            lambda: read_rules(web_config_file, bearer_token_file),
            clock,
            lambda new: refuse_weaker(new, self.rules),
        )
        self._secret = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bcrypt")

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return self.file.value

    def tls(self) -> ssl.SSLContext | None:
        """Return the context for a new connection; None for plain HTTP."""
        return self.rules.context

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def check(self, authorization: str, peer: Mapping[str, Any] | None) -> None:
        """Check a request's Authorization, and its connection's client certificate.

        Raises: Unauthorized, Forbidden; Overloaded where too many passwords wait.
        """
        rules = self.rules
        if rules.web.tls and rules.web.tls.client_allowed_sans:
            _check_names(rules.web.tls.client_allowed_sans, peer or {})
        if not rules.ask_credentials:
            return
        scheme, _, credentials = authorization.partition(" ")
        credentials = credentials.strip()
        if rules.token and scheme.lower() == "bearer":
            if hmac.compare_digest(credentials.encode("utf-8", "surrogateescape"), rules.token):
                return
        elif scheme.lower() == "basic":
            user, password = _user_and_password(credentials)
            if rules.token and hmac.compare_digest(password, rules.token):
                return
            if rules.web.users and await self._is_right(rules.web.users, user, password):
                return
        raise Unauthorized("credentials are missing or wrong")

    async def _is_right(self, users: Mapping[str, str], user: str, password: bytes) -> bool:
        hashed = users.get(user, "").encode()
        key = hmac.digest(self._secret, b"\0".join((user.encode(), hashed, password)), "sha256")
        if key in self._right:
            return True
        if self._waiting >= WAITING_MAX:
            raise Overloaded(f"{self._waiting} passwords are waiting to be checked")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(
                self._thread, matches, password, hashed, users.values()
            )
        finally:
            self._waiting -= 1
        if not right or user not in users:
            return False
        if len(self._right) >= REMEMBERED_MAX:
            self._right.clear()
        self._right[key] = None
        return True


def matches(
    password: bytes,
    hashed: bytes,
    all_hashes: Iterable[str],
    checkpw: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
) -> bool:
    """Whether a password matches a bcrypt hash, which is empty for an unknown user.

    A wrong password takes the same time for every user, known or not: that of the costliest
    hash. bcrypt's cost is the logarithm of its time, so a hash of cost c is extended to the
    highest cost C by one dummy hash of each cost c, c + 1, … C - 1: 2^c + 2^c + 2^(c+1) + … = 2^C.
    """
    highest = max(map(cost_of, all_hashes), default=DEFAULT_COST)
    password = password[:BCRYPT_BYTES]
    if hashed and _checks(password, hashed, checkpw):
        return True
    costs = range(cost_of(hashed.decode()), highest) if hashed else [highest]
    for cost in costs:
        _checks(password, b"$2b$%02d$%b%b" % (cost, DUMMY_SALT, b"." * 31), checkpw)
    return False


def cost_of(hashed: str) -> int:
    """Return the cost of a bcrypt hash."""
    return int(hashed.split("$")[2])


def _checks(password: bytes, hashed: bytes, checkpw: Callable[[bytes, bytes], bool]) -> bool:
    try:
        return bool(checkpw(password, hashed))
    except ValueError:
        return False


def _user_and_password(credentials: str) -> tuple[str, bytes]:
    try:
        plain = base64.b64decode(credentials, validate=True)
        user, _, password = plain.partition(b":")
        return user.decode(), password
    except (binascii.Error, ValueError):
        return "", b""


def _check_names(allowed: Sequence[str], peer: Mapping[str, Any]) -> None:
    names = {str(value) for _, value in peer.get("subjectAltName", ())}
    if not names.intersection(allowed):
        raise Forbidden("the client's certificate has none of the allowed names")
