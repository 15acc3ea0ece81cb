"""The tree of errors.

    ReceiverError
    +-- SettingsError        a setting, metrics.json or a connection string cannot be used
    +-- RequestRefused       a request is answered with an error as a whole
    |   +-- Undecodable          400: the body is not what its headers declare
    |   +-- IncompleteBody       400: the sender disconnected within the body
    |   +-- Unauthorized         401: no credentials, or wrong ones
    |   +-- Forbidden            403: a certificate that is not allowed
    |   +-- ForeignPage          403: a web page of another site sent it
    |   +-- WrongAddress         404: a write to another path
    |   +-- WrongMethod          405: the write path without POST
    |   +-- UnsupportedMedia     415: a type or encoding other than remote-write's
    |   +-- TooLarge             413: over a limit, so a retry would fail too
    |   |   +-- TooLargeInFlight
    |   |   +-- DecodedTooLarge
    |   |   +-- TooManyParts
    |   |   +-- TooManySeries
    |   |   +-- TooMuchToRender
    |   +-- NotCommitted         503: not written to the outbox; the sender retries
    |       +-- Overloaded
    |       +-- MemoryShort
    |       +-- AnswersUnread
    |       +-- TooSlow
    |       +-- OutboxFull
    |       +-- ShuttingDown
    +-- InvalidSeries        one series of a request is refused, the others are accepted
    +-- Damaged              a batch was changed on the disk
    +-- OutboxError          the outbox cannot be opened or used
    +-- Unreachable          no answer from a server

Subclasses with one user are beside it: `CannotMerge` (fold), `NoAnswer` and `NotWritten` (cli). So
are exceptions that never leave their room: the OSErrors of a connection (delivery), which become
`Unreachable`; `Mistake` in a file (intake), which becomes `SettingsError`; `Unusable`, of a
checkpoint (fold); what the command line asks for (cli); all of the sandbox, which imports nothing
of the receiver.

Each class has a `reason` from a closed set, which is also a metric's label, and a `hint`,
which tells the operator what to do. Refused requests have the HTTP `status` of the answer.
"""

from typing import ClassVar

from receiver.text import printable

WRITE_PATH = "/api/v1/write"
"""The path for remote-write; there is no other."""


class ReceiverError(Exception):
    """A known kind of failure."""

    reason: ClassVar[str] = "error"
    hint: str = ""


class SettingsError(ReceiverError):
    """A setting cannot be used; `problems` say where and why."""

    reason = "settings"

    def __init__(self, *problems: str) -> None:
        """Take all problems, so that an operator can correct them together."""
        super().__init__("; ".join(problems))
        self.problems = problems


class RequestRefused(ReceiverError):
    """A whole request is answered with an error; nothing of it was committed."""

    status: ClassVar[int] = 400


class Undecodable(RequestRefused):
    """The body is not what its headers declare; a retry would fail too."""

    reason = "undecodable"
    hint = "Send the protobuf message that Content-Type names, compressed in snappy block format."


class IncompleteBody(RequestRefused):
    """The body is incomplete: the sender disconnected or timed out."""

    reason = "broken_off"
    hint = "The sender retries; if it happens often, check its remote_timeout and the network."


class Unauthorized(RequestRefused):
    """The credentials are missing or wrong."""

    reason = "unauthorized"
    hint = "Set basic_auth or authorization in the sender's remote_write."
    status = 401


class Forbidden(RequestRefused):
    """The client's certificate is valid, but not allowed."""

    reason = "forbidden"
    hint = "client_allowed_sans in the receiver's web.config.file lists the allowed names."
    status = 403


class ForeignPage(RequestRefused):
    """The request came from another site's web page, or has a foreign Host."""

    reason = "foreign_page"
    hint = "Let the proxy on this machine send the receiver's own address as Host, or make the receiver require credentials: docs/access.md."
    status = 403


class WrongAddress(RequestRefused):
    """A sender wrote to a wrong path."""

    reason = "wrong_address"
    hint = (
        f"The path for remote-write is {WRITE_PATH}: correct the url in the sender's remote_write."
    )
    status = 404


class WrongMethod(RequestRefused):
    """A sender used another method than POST on the write path."""

    reason = "wrong_method"
    hint = (
        "A redirect may have turned POST into GET: set the final url in the sender's remote_write."
    )
    status = 405


class UnsupportedMedia(RequestRefused):
    """The content type or encoding is not remote-write's."""

    reason = "unsupported_media"
    hint = "Use Content-Encoding: snappy and Content-Type: application/x-protobuf."
    status = 415


class TooLarge(RequestRefused):
    """The body is over its limit; a retry would be too."""

    reason = "too_large"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_BODY_MAX_BYTES."
    status = 413


class TooLargeInFlight(TooLarge):
    """The body alone is over the limit of all bodies in flight."""

    reason = "too_large_in_flight"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_IN_FLIGHT_MAX_BYTES."


class DecodedTooLarge(TooLarge):
    """The body's declared decompressed size is over the limit."""

    reason = "decoded_too_large"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_DECODED_MAX_BYTES."


class TooManyParts(TooLarge):
    """The body has so many parts that parsing it would need too much memory."""

    reason = "too_many_parts"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_PARSED_MAX_BYTES."


class TooManySeries(TooLarge):
    """The request has more series than allowed."""

    reason = "too_many_series"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_SERIES_MAX."


class TooMuchToRender(TooLarge):
    """The request's selected samples, rendered with their labels, would need too much memory."""

    reason = "too_much_to_render"
    hint = "Send fewer samples in one request, or raise RECEIVER_RENDERED_MAX_BYTES."


class NotCommitted(RequestRefused):
    """Nothing of the request is on disk; the sender keeps it and retries."""

    reason = "not_committed"
    hint = "See the outbox's error in the receiver's log: disk full, or not writable."
    status = 503


class Overloaded(NotCommitted):
    """Too many requests in flight; this one was not decoded."""

    reason = "overloaded"
    hint = "The sender retries; if it persists, raise RECEIVER_REQUESTS_MAX or RECEIVER_IN_FLIGHT_MAX_BYTES."


class MemoryShort(NotCommitted):
    """The process' memory limit is too close for this work."""

    reason = "memory_short"
    hint = "The sender retries; if it persists, raise the memory limit, or lower RECEIVER_SERIES_CACHE_BYTES and RECEIVER_IN_FLIGHT_MAX_BYTES."


class AnswersUnread(NotCommitted):
    """The answers being read are at their limit of bytes."""

    reason = "answers_unread"
    hint = "Find the client that requests pages and does not read them; if there is none, raise RECEIVER_ANSWERS_MAX_BYTES."


class TooSlow(NotCommitted):
    """The body was not complete in time."""

    reason = "too_slow"
    hint = "The sender retries; check the network, or raise RECEIVER_BODY_TIMEOUT."


class OutboxFull(NotCommitted):
    """The outbox is at its limit of bytes; the sender keeps the data."""

    reason = "outbox_full"
    hint = "Application Insights accepts fewer items than arrive: see /api/v1/status, or raise RECEIVER_OUTBOX_MAX_BYTES."


class ShuttingDown(NotCommitted):
    """The receiver is stopping and accepts no more requests."""

    reason = "shutting_down"
    hint = "The sender retries; another receiver, or this one after its restart, will accept the request."


class InvalidSeries(ReceiverError):
    """One series of a request is refused, for the reason in `series_reason`."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep `reason`, one of `decode.INVALID_REASONS`, beside the message."""
        super().__init__(message)
        self.series_reason = reason


class Damaged(ReceiverError):
    """A batch is unreadable, since it was changed on the disk."""

    reason = "damaged"
    message: ClassVar[str] = "The batch was damaged on the disk of the outbox"


class OutboxError(ReceiverError):
    """The outbox cannot be opened or used."""

    reason = "outbox"


class Unreachable(ReceiverError):
    """No answer from a server."""

    def __init__(self, cause: str, hint: str) -> None:
        """Keep the cause and the hint."""
        self.cause = printable(cause)
        super().__init__(self.cause)
        self.hint = hint


def _final(kind: type[RequestRefused]) -> set[str]:
    """Return the reasons of a class and its subclasses after which a sender discards its samples."""
    own = {kind.reason} if kind.status < 500 and kind is not IncompleteBody else set()
    return own.union(*(_final(subclass) for subclass in kind.__subclasses__()))


FINAL_REASONS = frozenset(_final(RequestRefused) - {RequestRefused.reason})
"""Reasons of a permanent refusal: the sender does not retry, and its samples are lost."""
