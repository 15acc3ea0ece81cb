"""One event, one function: its count, its entry among the recent errors and its log line.

In: what happened, from any thread. Out: counts by reason, at most `LIMIT` recent errors
(two of one reason are one when they differ in digits alone), and one log line in a while for each
reason. The three are made by one call, so that they cannot disagree.
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
    """A kind of event: `where` it happens, and what its log line begins with.

    After a line the same reason is silent for `apart_seconds`; the next line counts
    what happened meanwhile.
    """

    where: str
    line: str
    apart_seconds: float = 60.0
    level: Literal["warning", "error"] = "warning"


@dataclass(slots=True)
class RecentError:
    """An error that happened `count` times. `words` are the latest; times since the epoch."""

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
    """When a line was last written for a reason, and what happened since."""

    written_at: float = float("-inf")
    since: int = 0


class Events:
    """Counts, remembers and logs. `clock` is in seconds since the epoch, `ticks` never goes back."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing that happened."""
        self._clock = clock
        self._ticks = ticks
        self._lock = threading.Lock()
        self._counts: dict[Kind, Counter[str]] = {}
        self._recent: dict[tuple[str, str, str], RecentError] = {}
        self._lines: dict[tuple[Kind, str], _Line] = {}

    def count(self, kind: Kind, reason: str, times: int = 1) -> None:
        """Count what is no error: it is neither shown nor logged."""
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
        """Count an error, keep it among the recent ones, and log it unless that was just done.

        `reason` is of a closed set, `words` are the occasion's own. A `defect` is logged with
        its traceback. `fields` go into the line; texts among them are kept with the error too.
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
        """Log that things go well again; the next event of this kind is logged at once."""
        with self._lock:
            for key in [key for key in self._lines if key[0] == kind]:
                del self._lines[key]
        log.info(line)

    def counts(self, kind: Kind) -> Counter[str]:
        """Give how often each reason happened, since this process began."""
        with self._lock:
            return Counter(self._counts.get(kind, {}))

    def latest(self) -> list[RecentError]:
        """Give the recent errors, the latest first."""
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
        """Say how many events a line has to tell of; 0 while it is too soon for one."""
        line = self._lines.setdefault((kind, reason), _Line())
        line.since += times
        now = self._ticks()
        if now - line.written_at < kind.apart_seconds:
            return 0
        line.written_at, since, line.since = now, line.since, 0
        return since
