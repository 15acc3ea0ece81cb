"""Events: one call makes the count, the entry among the recent errors, and the log line.

In: events, from any thread. Out: counts by reason, at most `LIMIT` recent errors (errors of
one reason that differ only in digits are merged), and throttled log lines for each reason.
Since one call makes all three, they cannot disagree.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import structlog

from receiver.text import printable

LIMIT = 30
WORDS_LIMIT = 400
FIELDS_LIMIT = 200
_DIGITS = re.compile(r"\d+")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of event: `where` it happens, and the start of its log line.

    A reason is logged at most once in `apart_seconds`; the next line has the number of events
    since.
    """

    where: str
    line: str
    apart_seconds: float = 60.0
    level: Literal["warning", "error"] = "warning"


@dataclass(slots=True)
class RecentError:
    """An error that happened `count` times. `words` is the latest message; times since the epoch."""

    where: str
    reason: str
    words: str
    hint: str
    first_at: float
    last_at: float
    count: int = 0
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Line:
    """The time of a reason's last line, and the number of events since."""

    written_at: float = float("-inf")
    since: int = 0


class Events:
    """Counts, recent errors and log lines. `clock` is in seconds since the epoch, `ticks` is monotonic."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without events."""
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._counts: dict[Kind, Counter[str]] = {}
        self._recent: dict[tuple[str, str, str], RecentError] = {}
        self._lines: dict[tuple[Kind, str], _Line] = {}

    def count(self, kind: Kind, reason: str, times: int = 1) -> None:
        """Count an event that is not an error, without showing or logging it."""
        with self._lock:
            self._counts.setdefault(kind, Counter())[reason] += times

    def happened(
        self,
        kind: Kind,
        reason: str,
        words: str,
        hint: str,
        *,
        times: int = 1,
        defect: BaseException | None = None,
        **fields: object,
    ) -> None:
        """Count an error, keep it among the recent ones, and log it unless the same was just logged.

        `reason` is from a closed set, `words` is this event's message. A `defect` is logged with
        its traceback. `fields` are added to the line, and texts among them to the recent error.
        """
        words = printable(words[:WORDS_LIMIT])
        fields = {
            name: printable(value[:FIELDS_LIMIT]) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        with self._lock:
            self._counts.setdefault(kind, Counter())[reason] += times
            self._remember(kind, reason, words, hint, times, fields)
            since = self._due(kind, reason, times)
        if since:
            write = log.error if defect or kind.level == "error" else log.warning
            more = fields | ({"exc_info": defect} if defect else {})
            write(kind.line, reason=reason, error=words, hint=hint, times=since, **more)

    def is_over(self, kind: Kind, line: str) -> None:
        """Log the end of a failure; the next event of this kind is logged at once."""
        with self._lock:
            for key in [key for key in self._lines if key[0] == kind]:
                del self._lines[key]
        log.info(line)

    def counts(self, kind: Kind) -> Counter[str]:
        """Return the number of events by reason since the process started."""
        with self._lock:
            return Counter(self._counts.get(kind, {}))

    def latest(self) -> list[RecentError]:
        """Return the recent errors, the latest first."""
        with self._lock:
            return list(reversed(self._recent.values()))

    def _remember(
        self,
        kind: Kind,
        reason: str,
        words: str,
        hint: str,
        times: int,
        fields: dict[str, object],
    ) -> None:
        now = self._clock()
        key = kind.where, reason, _DIGITS.sub("0", words)
        error = self._recent.pop(key, None)
        if error is None:
            error = RecentError(kind.where, reason, words, hint, now, now)
        error.words, error.hint, error.last_at = words, hint, now
        error.count += times
        error.fields |= {name: text for name, text in fields.items() if isinstance(text, str)}
        self._recent[key] = error  # the latest is last
        if len(self._recent) > LIMIT:
            del self._recent[next(iter(self._recent))]

    def _due(self, kind: Kind, reason: str, times: int) -> int:
        """Return the number of events for a log line; 0 while it is too soon for one."""
        line = self._lines.setdefault((kind, reason), _Line())
        line.since += times
        now = self._ticks()
        if now - line.written_at < kind.apart_seconds:
            return 0
        line.written_at, since, line.since = now, line.since, 0
        return since
