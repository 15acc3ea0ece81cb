"""What can go wrong, as one tree.

    ReceiverError
    +-- SettingsError        a setting, metrics.json or a connection string cannot be used
    +-- RequestRefused       a request is answered with an error as a whole
    |   +-- Undecodable          400: the body is not what its headers declare
    |   +-- BrokenOff            400: the sender went away amid the body
    |   +-- Unauthorized         401: no credentials, or wrong ones
    |   +-- Forbidden            403: a certificate that may not
    |   +-- ForeignPage          403: a web page of another site sent it
    |   +-- WrongAddress         404: a write to a path that takes none
    |   +-- WrongMethod          405: the write path, and not a POST
    |   +-- UnsupportedMedia     415: a type or an encoding that is not remote-write's
    |   +-- TooLarge             413: over a limit that a retry would not change
    |   |   +-- TooLargeInFlight
    |   |   +-- DecodedTooLarge
    |   |   +-- TooManyParts
    |   |   +-- TooManySeries
    |   |   +-- TooMuchToRender
    |   +-- NotCommitted         503: the outbox could not take it; the sender shall come again
    |       +-- Overloaded
    |       +-- MemoryShort
    |       +-- AnswersUnread
    |       +-- TooSlow
    |       +-- OutboxFull
    |       +-- ShuttingDown
    +-- InvalidSeries        one series of a request is refused; the others go on
    +-- Damaged              a batch on the disk is not what was written there
    +-- OutboxError          the outbox cannot be opened or used
    +-- Unreachable          no answer: the way to a server is broken somewhere

Each class has a `reason` (from a closed set; it is also a metric's label) and a
`hint`: a sentence that tells the operator what to do. Refused requests carry the
HTTP `status` that says so.
"""

from typing import ClassVar

from receiver.text import printable


class ReceiverError(Exception):
    """Something went wrong in a way that is understood."""

    reason: ClassVar[str] = "error"
    hint: str = ""


class SettingsError(ReceiverError):
    """What an operator has set cannot be used; each of `problems` says where and why."""

    reason = "settings"

    def __init__(self, *problems: str) -> None:
        """Take one problem, or all that there are: who mends one wants to know the next."""
        super().__init__("; ".join(problems))
        self.problems = problems


class RequestRefused(ReceiverError):
    """A request is answered with an error as a whole; nothing of it was committed."""

    status: ClassVar[int] = 400


class Undecodable(RequestRefused):
    """The body is not what its headers declare; sending it again changes nothing."""

    reason = "undecodable"
    hint = "Send snappy block format around the protobuf message that Content-Type names."


class BrokenOff(RequestRefused):
    """The body ended before its end: the sender went away or timed out."""

    reason = "broken_off"
    hint = "The sender will come again; if it happens often, look at its remote_timeout and the network."


class Unauthorized(RequestRefused):
    """It bears no credentials, or wrong ones."""

    reason = "unauthorized"
    hint = "Set basic_auth or authorization in the sender's remote_write."
    status = 401


class Forbidden(RequestRefused):
    """Its certificate is good, but not for this."""

    reason = "forbidden"
    hint = "client_allowed_sans in the receiver's web.config.file names who may connect."
    status = 403


class ForeignPage(RequestRefused):
    """A web page of another site sent it, or it names another machine than this one."""

    reason = "foreign_page"
    hint = "A proxy on this machine has to pass on the receiver's own address as Host, or the receiver ask for credentials: docs/access.md."
    status = 403


class WrongAddress(RequestRefused):
    """A sender wrote to a path that takes no writes."""

    reason = "wrong_address"
    hint = "Remote-write goes to /api/v1/write: mend the url in the sender's remote_write."
    status = 404


class WrongMethod(RequestRefused):
    """A sender came to the write path with another method than POST."""

    reason = "wrong_method"
    hint = "A redirect on the way turns POST into GET: name the final url in the sender's remote_write."
    status = 405


class UnsupportedMedia(RequestRefused):
    """The content type or encoding is not one of remote-write's."""

    reason = "unsupported_media"
    hint = "Use Content-Encoding: snappy and Content-Type: application/x-protobuf."
    status = 415


class TooLarge(RequestRefused):
    """The body is larger than it may be; a retry would be just as large."""

    reason = "too_large"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_BODY_MAX_BYTES."
    status = 413


class TooLargeInFlight(TooLarge):
    """The body alone is larger than all bodies in flight may be."""

    reason = "too_large_in_flight"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_IN_FLIGHT_MAX_BYTES."


class DecodedTooLarge(TooLarge):
    """The body declares to be larger than it may be once decompressed."""

    reason = "decoded_too_large"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_DECODED_MAX_BYTES."


class TooManyParts(TooLarge):
    """The body is made of so many parts that parsing it would take too much memory."""

    reason = "too_many_parts"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_PARSED_MAX_BYTES."


class TooManySeries(TooLarge):
    """The request holds more series than one may."""

    reason = "too_many_series"
    hint = "Lower the sender's max_samples_per_send, or raise RECEIVER_SERIES_MAX."


class TooMuchToRender(TooLarge):
    """The request's selected samples would take too much memory, each with its labels."""

    reason = "too_much_to_render"
    hint = "Send fewer samples in one request, or raise RECEIVER_RENDERED_MAX_BYTES."


class NotCommitted(RequestRefused):
    """Nothing of the request is on disk; the sender keeps it and comes again."""

    reason = "not_committed"
    hint = "Look at the receiver's log for the outbox's error: disk full, or not writable."
    status = 503


class Overloaded(NotCommitted):
    """As much as may be under way at once is under way; nothing of it was decoded."""

    reason = "overloaded"
    hint = "The sender comes again; if it lasts, raise RECEIVER_REQUESTS_MAX or RECEIVER_IN_FLIGHT_MAX_BYTES."


class MemoryShort(NotCommitted):
    """So little memory is left of what the process may take that the work could end it."""

    reason = "memory_short"
    hint = "The sender comes again; if it lasts, raise the memory limit, or lower RECEIVER_SERIES_CACHE_BYTES and RECEIVER_IN_FLIGHT_MAX_BYTES."


class AnswersUnread(NotCommitted):
    """Answers that are being read hold as many bytes as they may."""

    reason = "answers_unread"
    hint = "Who asks for pages and does not read them? If all readers are honest, raise RECEIVER_ANSWERS_MAX_BYTES."


class TooSlow(NotCommitted):
    """Its body did not come in time."""

    reason = "too_slow"
    hint = "The sender comes again; look at the network, or raise RECEIVER_BODY_TIMEOUT."


class OutboxFull(NotCommitted):
    """The outbox holds as many bytes as it may; the sender keeps the data."""

    reason = "outbox_full"
    hint = "Application Insights takes less than arrives: see /api/v1/status, or raise RECEIVER_OUTBOX_MAX_BYTES."


class ShuttingDown(NotCommitted):
    """The receiver is stopping and takes nothing more."""

    reason = "shutting_down"
    hint = "Come again; another receiver, or this one after its restart, will take it."


class InvalidSeries(ReceiverError):
    """One series of a request is refused. `reason` differs from error to error."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep `reason`, one of `decode.INVALID_REASONS`, beside the message."""
        super().__init__(message)
        self.series_reason = reason


class Damaged(ReceiverError):
    """A batch cannot be read any more: the disk has changed it."""

    reason = "damaged"
    message: ClassVar[str] = "The batch was damaged on the disk of the outbox"


class OutboxError(ReceiverError):
    """The outbox cannot be opened or used."""

    reason = "outbox"


class Unreachable(ReceiverError):
    """No answer: the way to a server is broken somewhere."""

    def __init__(self, cause: str, hint: str) -> None:
        """Take what happened, and what to do."""
        self.cause = printable(cause)
        super().__init__(self.cause)
        self.hint = hint


def _final(kind: type[RequestRefused]) -> set[str]:
    """List the reasons of a kind and of those below it after which a sender gives its samples up."""
    own = {kind.reason} if kind.status < 500 and kind is not BrokenOff else set()
    return own.union(*(_final(each) for each in kind.__subclasses__()))


FINAL_REASONS = frozenset(_final(RequestRefused) - {RequestRefused.reason})
"""Why a request is refused for good: its sender does not come again, and the samples are lost."""
