"""The recogniser: the compiled kernel finds known series by their bytes, without parsing them again.

In: a decompressed request. Out: a `Reading`: known series with their samples, and the indices
of unknown series, which `receiver.intake.pipeline` learns. The method, and the reason why it is
sound, are in receiver/native/recogniser.h.

Without a C compiler at installation there is no kernel: the full parser takes everything,
slower, with the same results.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from receiver.intake.decode import Message, Raw

if TYPE_CHECKING:
    from receiver.kernel import Reading

try:
    from receiver.kernel import Table, key, read
except ImportError:  # not built, or built of older sources
    IS_COMPILED = False
else:
    IS_COMPILED = True

WITHOUT_KERNEL = (
    "The receiver runs without its compiled kernel: a selected sample costs some twenty times the "
    "CPU. Install a wheel for this Python and platform, or build with a C compiler and Python's headers."
)
"""The message for operators if there is no kernel: at start, in `check`, on the page."""

NAMES_LIMIT_BYTES = 4 << 20
TEMPLATE_OVERHEAD_BYTES = 300
"""Memory of a known series in Python beside its bytes: its objects, its share of a dictionary."""
LABEL_OVERHEAD_BYTES = 45
"""Memory of each text of a key in Python."""
_VERSIONS = {Message.V1: 1, Message.V2: 2}


@dataclass(frozen=True, slots=True)
class Known:
    """A known series: its template without the common start, empty if it is not rendered; its
    number in the fold, 0 if it is not folded; its lane; the reason if it is dropped; the number of
    its source in `receiver.intake.replicas`."""  # noqa: D205,D209 - one sentence

    template: bytes
    fold_number: int
    lane: int = 0
    dropped: str = ""
    source: int = 0


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """The counts of known series; a miss is one that had to be decided."""

    entries: int
    size_bytes: int
    limit_bytes: int
    misses: int


class PlainKnownSeries:
    """Known series without the kernel; the least recently used are forgotten first."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty, with a limit in bytes."""
        self._limit_bytes = limit_bytes
        self._misses = 0
        self.clear()

    def get(self, pairs: tuple[bytes, ...]) -> Known | None:
        """Return a known series by its label pairs: names and values alternating."""
        known = self._series.get(pairs)
        if known:
            self._series.move_to_end(pairs)
        return known

    def put(self, pairs: tuple[bytes, ...], known: Known) -> None:
        """Add the series, unless it is larger than the limit."""
        size = _measure(pairs, known)
        if size > self._limit_bytes:
            return
        self._misses += 1
        if before := self._series.pop(pairs, None):
            self._size_bytes -= _measure(pairs, before)
        self._series[pairs] = known
        self._size_bytes += size
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= _measure(*self._series.popitem(last=False))

    def clear(self) -> None:
        """Forget everything."""
        self._series: OrderedDict[tuple[bytes, ...], Known] = OrderedDict()
        self._size_bytes = 0

    def statistics(self) -> CacheStatistics:
        """Return the counts of known series."""
        return CacheStatistics(len(self._series), self._size_bytes, self._limit_bytes, self._misses)


def _measure(pairs: Sequence[bytes], known: Known) -> int:
    """Return the measured memory of a known series."""
    texts = sum(map(len, pairs)) + LABEL_OVERHEAD_BYTES * len(pairs)
    return texts + len(known.template) + TEMPLATE_OVERHEAD_BYTES


def digest_of(pairs: tuple[bytes, ...], *, compiled: bool) -> int:
    """Return an 8-byte identity of a series' label pairs: with the kernel, of its key."""
    return hash(key(pairs)) if compiled else hash(pairs)


class Recogniser:
    """Opens requests; finds series and names by their bytes."""

    def __init__(self, limit_bytes: int) -> None:
        """Start with no known series; `limit_bytes` limits them."""
        self.unwanted = Table(NAMES_LIMIT_BYTES)
        self.series = Table(limit_bytes)

    def read(self, raw: Raw, message: Message, most_series: int) -> "Reading | None":
        """Open a request; None for an unusual one."""
        return read(raw, _VERSIONS[message], self.unwanted, self.series, most_series)

    def get(self, pairs: tuple[bytes, ...]) -> Known | None:
        """Return a known series by its label pairs."""
        return self.get_by_key(key(pairs))

    def get_by_key(self, series_key: bytes) -> Known | None:
        """Return a known series by the key of a reading."""
        known = self.series.get(series_key)
        if not known:
            return None
        template, fold_number, source, lane = known
        return Known(template, fold_number, lane, source=source)

    def put(self, pairs: tuple[bytes, ...], known: Known) -> None:
        """Add a series by its label pairs, if there is room."""
        self.put_by_key(key(pairs), known)

    def put_by_key(self, series_key: bytes, known: Known) -> None:
        """Add a series by the key of a reading, if there is room."""
        entry = known.template, known.fold_number, known.source, known.lane
        self.series.put(series_key, *entry)

    def clear(self) -> None:
        """Forget everything."""
        self.series.clear()

    def statistics(self) -> CacheStatistics:
        """Count the known series."""
        return CacheStatistics(*self.series.statistics())
