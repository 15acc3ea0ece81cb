"""Content negotiation of remote-write, from the headers alone.

In: Content-Type and Content-Encoding. Out: the type of message in the body. A missing
header means snappy and 1.0, as the oldest senders use.

Rules: Remote-Write 2.0, "Content Negotiation"; RFC 9110, 5.6.6 and 8.3.1 for
parameters, quotes and case.
"""

import re
from functools import lru_cache

from receiver.errors import UnsupportedMedia
from receiver.intake.decode import Message
from receiver.text import printable

MEDIA_TYPE = "application/x-protobuf"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's token, not a secret
_PARAMETER = re.compile(rf'\s*;\s*(?:({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?')
_TYPE = re.compile(rf"\s*({_TOKEN}/{_TOKEN})")


@lru_cache(maxsize=32)  # the same for all requests of a sender
def negotiate(content_type: str, content_encoding: str) -> Message:
    """Return the type of message that the headers declare.

    Raises: UnsupportedMedia, before the body is read.
    """
    content_type, content_encoding = printable(content_type), printable(content_encoding)
    encoding = content_encoding.strip().lower()
    if encoding not in ("", "snappy"):
        message = f'Content-Encoding is "{content_encoding.strip()[:64]}", not snappy'
        raise UnsupportedMedia(message)
    if not content_type.strip():
        return Message.V1
    media_type, parameters = _parse(content_type)
    if media_type != MEDIA_TYPE:
        message = f'Content-Type is "{content_type.strip()[:128]}", not {MEDIA_TYPE}'
        raise UnsupportedMedia(message)
    declared = parameters.get("proto", Message.V1.value)
    for message_type in Message:
        if declared == message_type.value:
            return message_type
    names = " or ".join(known.value for known in Message)
    raise UnsupportedMedia(f'proto is "{declared[:128]}", not {names}')


def _parse(content_type: str) -> tuple[str, dict[str, str]]:
    start = _TYPE.match(content_type)
    if not start:
        return "", {}
    parameters: dict[str, str] = {}
    end = start.end()
    while parameter := _PARAMETER.match(content_type, end):
        end = parameter.end()
        name, plain, quoted = parameter.groups()
        if name:
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(name.lower(), value)
    if content_type[end:].strip():
        message = f'Content-Type "{content_type[:128]}" has a malformed parameter'
        raise UnsupportedMedia(message)
    return start[1].lower(), parameters
