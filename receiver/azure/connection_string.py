"""The parser of connection strings: the address and key for delivery.

In: `APPLICATIONINSIGHTS_CONNECTION_STRING`, or the older bare instrumentation key.
Out: a `Connection`. Opens nothing.

Rules: Azure Monitor, "Connection strings in Application Insights": key=value pairs
between semicolons, keys in any case; IngestionEndpoint, else EndpointSuffix with
an optional Location, else the global endpoint.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from receiver.errors import SettingsError

GLOBAL_ENDPOINT = "https://dc.services.visualstudio.com"
TRACK_PATH = "/v2.1/track"
LENGTH_LIMIT = 4096
"""Characters in a connection string. Source: the same page."""

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KNOWN = ("instrumentationkey", "ingestionendpoint", "liveendpoint", "endpointsuffix",
          "location", "aadaudience", "applicationid", "authorization", "profilerendpoint",
          "snapshotendpoint")  # fmt: skip
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_WHERE = "copy it from the resource's Overview page in the Azure portal"


@dataclass(frozen=True, slots=True)
class Connection:
    """The destination: endpoint and instrumentation key.

    `endpoint` has no trailing slash; `audience` is that of Microsoft Entra tokens, if the
    string names one. `unknown` lists the ignored keys. `is_global`: the string names no
    endpoint, so it is the one for all regions.
    """

    instrumentation_key: str
    endpoint: str = GLOBAL_ENDPOINT
    audience: str = ""
    unknown: tuple[str, ...] = ()
    is_global: bool = False

    @property
    def track_url(self) -> str:
        """The address that batches are POSTed to."""
        return self.endpoint + TRACK_PATH

    @property
    def is_plain(self) -> bool:
        """Whether items would cross a network unencrypted; loopback is not a network."""
        parts = urlsplit(self.endpoint)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def parse(text: str, source: str = "the connection string") -> Connection:
    """Read a connection string; `source` names it in messages.

    Raises: SettingsError, which never repeats the key.
    """
    if len(text) > LENGTH_LIMIT:
        raise SettingsError(f"{source} has {len(text)} characters; the limit is {LENGTH_LIMIT}")
    fields = dict(_fields(text, source))
    key = fields.get("instrumentationkey", "")
    if not key:
        raise SettingsError(f"{source} has no InstrumentationKey; {_WHERE}")
    authorization = fields.get("authorization", "ikey")
    if authorization.lower() != "ikey":
        message = (
            f'{source}: Authorization is "{_masked(authorization)}"; the only valid value is "ikey"'
        )
        raise SettingsError(message)
    return Connection(
        instrumentation_key=check_key(key, source),
        endpoint=_endpoint(fields, source),
        audience=fields.get("aadaudience", ""),
        unknown=tuple(_masked(name) for name in fields if name not in _KNOWN),
        is_global=not (fields.get("ingestionendpoint") or fields.get("endpointsuffix")),
    )


def check_key(key: str, source: str) -> str:
    """Return an instrumentation key, trimmed and in lower case.

    Raises: SettingsError unless it is a GUID.
    """
    key = key.strip()
    if not _GUID.fullmatch(key):
        message = f"{source}: the instrumentation key is not a GUID like 00000000-0000-0000-0000-000000000000; {_WHERE}"
        raise SettingsError(message)
    return key.lower()


def _fields(text: str, source: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for part in text.strip().strip("\"'").split(";"):
        if not part.strip():
            continue
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            if _GUID.fullmatch(part.strip()):
                message = f"{source} is a bare key; write InstrumentationKey=…, or set INSTRUMENTATION_KEY"
            else:
                message = f'{source}: part {len(seen) + 1} is not "Key=value"; {_WHERE}'
            raise SettingsError(message)
        if name.lower() in seen:
            raise SettingsError(f"{source}: {_masked(name)} occurs twice")
        seen.add(name.lower())
        yield name.lower(), value


def _masked(text: str) -> str:
    """Mask keys, and passwords before a host, for messages."""
    return re.sub(r"//[^/]*@", "//…@", _GUID.sub("…", text))


def _endpoint(fields: dict[str, str], source: str) -> str:
    if endpoint := fields.get("ingestionendpoint"):
        return check_endpoint(endpoint, f"{source}: IngestionEndpoint")
    if suffix := fields.get("endpointsuffix", "").strip("."):
        if not _HOST.fullmatch(suffix):
            message = f'{source}: EndpointSuffix is "{_masked(suffix)}", not the end of a host\'s name like applicationinsights.us; an address goes into IngestionEndpoint'
            raise SettingsError(message)
        location = fields.get("location", "").strip(".")
        host = f"{location}.dc.{suffix}" if location else f"dc.{suffix}"
        return check_endpoint(f"https://{host}", f"{source}: EndpointSuffix")
    return GLOBAL_ENDPOINT


def check_endpoint(endpoint: str, source: str) -> str:
    """Return an ingestion endpoint as scheme://host[:port][/path], without a trailing slash.

    A trailing /v2.1/track is removed.

    Raises: SettingsError unless it is an http or https address.
    """
    text = endpoint.strip().rstrip("/")
    text = re.sub(r"/v2(\.1)?/track$", "", text).rstrip("/")
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = named and not (parts.query or parts.fragment or parts.username)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        message = f'{source} is "{_masked(endpoint)}", not an address like https://REGION.in.applicationinsights.azure.com/'
        raise SettingsError(message)
    return text
