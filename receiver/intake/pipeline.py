"""A request becomes an intake: the items to commit, and an account of every sample.

In: a decompressed body. Out: an `Outcome`. Wires the pure stages decode, select and
render, names first: a series that nobody wants is never opened. What was learnt of
a wanted series, its template, is kept for the next scrape. `receiver.intake.fastpath` takes
what it recognises; what is here takes all the rest, and could take everything.

This is also where each sample that does not go on gets its reason.
"""

import math
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field

import orjson

from receiver.azure.envelope import Identity, Template, TimeTexts, common_start, line, make_template
from receiver.errors import InvalidSeries
from receiver.intake.cache import BoundedCache, CacheStatistics
from receiver.intake.decode import (
    DEFAULT_LIMITS,
    Message,
    Sample,
    Series,
    decode,
    decode_series,
    read_labels,
)
from receiver.intake.fastpath import FastPath
from receiver.intake.learn import LINE_OVERHEAD_BYTES, Found, check_rendered
from receiver.intake.limits import Limits
from receiver.intake.metadata import MetadataBook
from receiver.intake.metrics_json import Allowlist
from receiver.intake.parse_cost import check_parts, check_series_parts
from receiver.intake.recogniser import IS_COMPILED, CompiledPath
from receiver.outbox.batch import Chunk, cut, lines_of

STALE = "stale"
NAN = "nan"
INFINITE = "infinite"
BAD_TIMESTAMP = "bad_timestamp"
NAME_TOO_LONG = "name_too_long"
NATIVE_HISTOGRAM = "native_histogram"
INVALID_SERIES = "invalid_series"
DROP_REASONS = {
    STALE: "A staleness marker: Prometheus says that the series has ended.",
    NAN: "Not a number, which JSON and Application Insights do not have; idle quantiles and 0/0.",
    INFINITE: "Plus or minus infinity, which JSON and Application Insights do not have.",
    BAD_TIMESTAMP: "A time outside the years 1 to 9999.",
    NAME_TOO_LONG: "The metric's name has more than 1,024 characters.",
    NATIVE_HISTOGRAM: "A native histogram; Application Insights has no shape for it.",
    INVALID_SERIES: "A sample of a series that was refused with 400: no name, a label twice, not UTF-8.",
}
"""Why a sample was dropped here: the closed set of `receiver_samples_dropped_total{reason}`."""

_STALE_BITS = struct.pack("<Q", 0x7FF0000000000002)
TEMPLATE_OVERHEAD_BYTES = 220
"""What a cached template costs beside its bytes: two objects, and its share of a dictionary."""
LABEL_OVERHEAD_BYTES = 45
"""What each text of a key costs that is made of several."""

Key = bytes | tuple[bytes, ...]
"""A series, in the templates' cache: by its bytes in `receiver.intake.fastpath`, by its label pairs here."""


@dataclass(slots=True)
class Outcome:
    """What became of one request.

    `chunks` hold the items to commit, a line each, in the order sent; their times span
    `oldest_ms` to `newest_ms`. In samples: received = unselected + dropped + lines.
    `refused` holds a few of the series that were refused; `written_*` count what a
    remote-write 2.0 answer has to tell.
    """

    chunks: list[Chunk] = field(default_factory=list)
    oldest_ms: int = 0
    newest_ms: int = 0
    received: int = 0
    unselected: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    refused_examples: list[str] = field(default_factory=list)
    labels_cut: int = 0
    labels_left_out: int = 0
    written_samples: int = 0
    written_histograms: int = 0
    written_exemplars: int = 0
    rendered_bytes: int = 0
    has_times: bool = False

    def span(self, timestamp_ms: int) -> None:
        """Take note of a line's time."""
        if timestamp_ms > self.newest_ms or not self.has_times:
            self.newest_ms = timestamp_ms
        if timestamp_ms < self.oldest_ms or not self.has_times:
            self.oldest_ms = timestamp_ms
        self.has_times = True

    @property
    def lines(self) -> list[bytes]:
        """The items one by one, for whoever has time."""
        return [line for chunk in self.chunks for line in lines_of(chunk, chunk.items)]


class Pipeline:
    """What is wanted and how it is rendered: one metrics.json with one identity.

    It remembers templates, so a new metrics.json means a new Pipeline.
    """

    def __init__(
        self,
        allowlist: Allowlist,
        identity: Identity,
        cache_bytes: int,
        limits: Limits = DEFAULT_LIMITS,
        metadata: MetadataBook | None = None,
        *,
        compiled: bool = IS_COMPILED,
    ) -> None:
        """Start with nothing remembered; `cache_bytes` bounds the templates.

        `compiled` chooses between `receiver.intake.recogniser` and `receiver.intake.fastpath`.
        """
        self.allowlist = allowlist
        self.limits = limits
        self.metadata = MetadataBook() if metadata is None else metadata
        self.identity = identity
        self._fast: FastPath | CompiledPath
        if compiled:  # it keeps what it knows itself; the odd series keep to a quarter
            self._fast = CompiledPath(
                allowlist,
                cache_bytes * 3 // 4,
                self._make_template,
                common_start(identity),
                limits,
            )
            cache_bytes //= 4
        self.templates: BoundedCache[Key, bytes] = BoundedCache(cache_bytes, _measure)
        if not compiled:
            self._fast = FastPath(allowlist, self.templates, self._make_template, limits)
        self._times = TimeTexts()

    def take(self, raw: bytes, message: Message) -> Outcome:
        """Decode, select and render one request.

        Raises: Undecodable for a body that is not the message that it claims to be;
        TooLarge for one over the limits.
        """
        found = self._fast.read(raw, message)
        return self._join(found, message) if found else self.take_slowly(raw, message)

    def take_slowly(self, raw: bytes, message: Message) -> Outcome:
        """Do what `take` does by the full parser alone: the same, but for damaged unselected series.

        Raises: Undecodable for a body that is not the message that it claims to be;
        TooLarge for one over the limits.
        """
        check_parts(raw, message, self.limits)
        intake, lines = Outcome(), list[bytes]()
        for series in decode(raw, message, self.limits, self.metadata.put):
            self._take_or_refuse(series, intake, lines)
        intake.chunks = cut(lines)
        return intake

    def statistics(self) -> CacheStatistics:
        """Count the templates that are known."""
        known = self.templates.statistics()
        if isinstance(self._fast, CompiledPath):
            more = self._fast.statistics()
            known = CacheStatistics(
                *(sum(each) for each in zip(astuple(known), astuple(more), strict=True))
            )
        return known

    def _join(self, found: Found, message: Message) -> Outcome:
        """Account for what was recognised, and take the odd series one by one, in their places."""
        intake = Outcome(rendered_bytes=found.rendered_bytes)
        odd_lines: list[list[bytes]] = []
        for text in found.odd:
            odd_lines.append([])
            check_series_parts(text, message, self.limits)
            series = decode_series(text, message, found.symbols, self.limits)
            self._take_or_refuse(series, intake, odd_lines[-1])
        for timestamp_ms in found.span_ms:
            intake.span(timestamp_ms)
        intake.chunks = found.finish(odd_lines)
        usual = found.series - len(found.odd)
        intake.received += usual
        intake.unselected += found.unselected
        intake.written_samples += usual
        for value in found.not_finite:
            intake.dropped[_why_not_finite(value)] += 1
        for template in found.learnt:
            intake.labels_cut += template.cut
            intake.labels_left_out += template.left_out
        return intake

    def _take_or_refuse(self, series: Series, intake: Outcome, lines: list[bytes]) -> None:
        samples = len(series.samples)
        try:
            if series.name and not self.allowlist.wants(series.name):
                intake.received += 1  # by its name alone, not opened: a sender puts one in each
                intake.unselected += 1
            else:
                self._take_series(series, intake, lines)
        except InvalidSeries as error:
            _refuse(error, samples + series.histograms, intake)
        else:
            intake.written_samples += samples
            intake.written_histograms += series.histograms
            intake.written_exemplars += series.exemplars

    def _take_series(self, series: Series, intake: Outcome, lines: list[bytes]) -> None:
        middle = self._middle(series, intake)
        if series.histograms:
            series.check_histograms()
        if metadata := series.metadata():
            self.metadata.put(metadata)
        self._charge(len(series.samples), middle, intake)
        intake.received += len(series.samples) + series.histograms
        if series.histograms:
            intake.dropped[NATIVE_HISTOGRAM] += series.histograms
        if not middle:
            intake.dropped[NAME_TOO_LONG] += len(series.samples)
            return
        self._render(series.samples, middle, intake, lines)

    def _charge(self, samples: int, middle: bytes, intake: Outcome) -> None:
        """Refuse the request where few bytes of it would be rendered into very many."""
        intake.rendered_bytes += max(samples, 1) * (len(middle) + LINE_OVERHEAD_BYTES)
        check_rendered(intake.rendered_bytes, self.limits)

    def _middle(self, series: Series, intake: Outcome) -> bytes:
        pairs = series.label_pairs()
        middle = self.templates.get(pairs)
        if middle is None:
            template = self._make_template(read_labels(pairs))
            intake.labels_cut += template.cut
            intake.labels_left_out += template.left_out
            middle = template.middle
            self.templates.put(pairs, middle)
        return middle

    def _make_template(self, labels: Mapping[str, str]) -> Template:
        return make_template(labels, self.identity)

    def _render(
        self, samples: Sequence[Sample], middle: bytes, intake: Outcome, lines: list[bytes]
    ) -> None:
        for sample in samples:
            value, timestamp_ms = sample.value, sample.timestamp
            if not math.isfinite(value):
                intake.dropped[_why_not_finite(value)] += 1
                continue
            time_text = self._times.get(timestamp_ms)
            if time_text is None:
                intake.dropped[BAD_TIMESTAMP] += 1
                continue
            intake.span(timestamp_ms)
            lines.append(line(time_text, middle, orjson.dumps(value)))


def _measure(key: Key, middle: bytes) -> int:
    """Say how many bytes a template takes with all that is kept for it (measured)."""
    if isinstance(key, bytes):
        return len(key) + len(middle) + TEMPLATE_OVERHEAD_BYTES
    return (
        sum(map(len, key)) + LABEL_OVERHEAD_BYTES * len(key) + len(middle) + TEMPLATE_OVERHEAD_BYTES
    )


def _why_not_finite(value: float) -> str:
    if math.isinf(value):
        return INFINITE
    return STALE if struct.pack("<d", value) == _STALE_BITS else NAN


def _refuse(error: InvalidSeries, samples: int, intake: Outcome) -> None:
    intake.received += samples
    if samples:
        intake.dropped[INVALID_SERIES] += samples
    intake.refused[error.series_reason] += 1
    if len(intake.refused_examples) < 3:
        intake.refused_examples.append(str(error))
