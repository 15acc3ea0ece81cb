"""The pipeline from a request to its outcome: items to commit, records to fold, and the count of every sample.

In: a decompressed body. Out: an `Outcome`. `receiver.intake.recogniser` returns known series, and
the indices of unknown ones; one loop here learns the unknown series and puts them into the reading;
`receiver.azure.renderer` turns the rows into lines. Without a kernel, and for an unusual request,
the full parser takes all series, one by one.

A dropped sample gets its reason here.
"""

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from receiver.azure.envelope import Identity
from receiver.azure.renderer import Renderer
from receiver.errors import InvalidSeries, TooMuchToRender, Undecodable
from receiver.intake.decode import (
    DEFAULT_LIMITS,
    Limits,
    Message,
    Raw,
    Series,
    decode,
    decode_series,
    read_labels,
)
from receiver.intake.guard import CARDINALITY, Distinct, Explosion, Guard, SeriesLimits
from receiver.intake.metadata import MetadataBook
from receiver.intake.metrics_json import FOLD_FULL, WOULD_JOIN, Allowlist, Use
from receiver.intake.parse_cost import check_parts, check_series_parts
from receiver.intake.recogniser import (
    IS_COMPILED,
    CacheStatistics,
    Known,
    PlainKnownSeries,
    Recogniser,
    digest_of,
)
from receiver.intake.replicas import REPLICA, REPLICA_LIMIT, Account, Replicas, SeriesSamples
from receiver.intake.routes import UNROUTED, Routing
from receiver.ledger import ROUTE_FULL
from receiver.outbox.gzip_body import lines_of
from receiver.outbox.values import Chunk
from receiver.rows import NO_LANE, PlainRows, Rows, Sample

if TYPE_CHECKING:
    from receiver.kernel import Reading

STALE = "stale"
NAN = "nan"
INFINITE = "infinite"
BAD_TIMESTAMP = "bad_timestamp"
NAME_TOO_LONG = "name_too_long"
NATIVE_HISTOGRAM = "native_histogram"
INVALID_SERIES = "invalid_series"
DROP_REASONS = {
    STALE: "A staleness marker: the series has ended.",
    NAN: "Not a number, which JSON and Application Insights do not have; idle quantiles and 0/0.",
    INFINITE: "Plus or minus infinity, which JSON and Application Insights do not have.",
    UNROUTED: 'Of a series without a route, with "unmatched": "drop" in routes.json.',
    ROUTE_FULL: "Of a route whose share of the outbox is full: its resource accepts less than arrives; the other routes go on.",
    BAD_TIMESTAMP: "A time outside the years 1 to 9999.",
    NAME_TOO_LONG: "The metric's name has more than 1,024 characters.",
    NATIVE_HISTOGRAM: "A native histogram; Application Insights has no shape for it.",
    FOLD_FULL: "Of a new folded series, while the fold has no room: RECEIVER_FOLD_MAX_BYTES.",
    WOULD_JOIN: 'Of a raw series that "keep" or "drop" would make equal to another: its items would be indistinguishable.',
    CARDINALITY: "Of a new series, of a metric (or in all) at its limit: RECEIVER_METRIC_SERIES_MAX, RECEIVER_TOTAL_SERIES_MAX.",
    REPLICA: "Of a replica that does not lead, or of a new leader up to its floor: RECEIVER_REPLICA_LABEL.",
    REPLICA_LIMIT: "Of a new replica, while 1,000 are known, or of one whose name, or cluster's name, has more than 1,024 characters.",
    INVALID_SERIES: "Of a series refused with 400: no name, a label twice, not UTF-8.",
}
"""The reasons of `receiver_samples_dropped_total`."""
HARMLESS_DROPS = frozenset({STALE, NAN, REPLICA, UNROUTED})
"""The reasons that are meant to be: no verdict is made of them."""

_STALE_BITS = struct.pack("<Q", 0x7FF0000000000002)
ROW_OVERHEAD_BYTES = 150
"""Memory of a rendered sample beside its series' part: time, value, objects."""


@dataclass(slots=True)
class Outcome:
    """The outcome of one request.

    `chunks` hold the items to commit, `rendered` lines in the order sent; their times span
    `oldest_ms` to `newest_ms`; without items both are the newest folded sample's time. `folded` holds
    the fold's records (`rows.RECORD`); a sample both rendered and folded counts as
    rendered, not in `folded_samples`. In samples:
    received = unselected + dropped + folded_samples + rendered. `refused_examples` holds a few
    refused series; `written_*` are the counts in a remote-write 2.0 answer. `notes` are small
    states by name, to commit with the items.
    """

    chunks: list[Chunk] = field(default_factory=list)
    rendered: int = 0
    folded: bytes = b""
    folded_samples: int = 0
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
    notes: dict[str, bytes] = field(default_factory=dict)
    rows: Rows = field(default_factory=PlainRows, compare=False)

    def count(self, samples: int, dropped: str = "") -> None:
        """Count received samples; `dropped` is the reason if they are not used."""
        self.received += samples
        self.written_samples += samples
        if dropped:
            self.dropped[dropped] += samples

    @property
    def lines(self) -> list[bytes]:
        """The items, one by one."""
        return [line for chunk in self.chunks for line in lines_of(chunk, chunk.items)]


class Pipeline:
    """Selection and rendering under one metrics.json and one identity.

    It caches the use of series, so a new metrics.json needs a new Pipeline.
    """

    def __init__(
        self,
        allowlist: Allowlist,
        identity: Identity,
        cache_bytes: int,
        limits: Limits = DEFAULT_LIMITS,
        metadata: MetadataBook | None = None,
        *,
        use_of: Callable[[Mapping[str, str]], Use] | None = None,
        series_limits: SeriesLimits | None = None,
        replicas: Replicas | None = None,
        routing: Routing | None = None,
        compiled: bool = IS_COMPILED,
    ) -> None:
        """Start with no known series; `cache_bytes` limits them.

        `use_of` returns the use of a selected series by its labels; by default the allowlist's.
        `series_limits` limit the distinct series, `replicas` has the replicas' leaders, if any, and
        `routing` the resource of each series. Without `compiled` the full parser takes everything.
        """
        self.allowlist = allowlist
        self._use_of = use_of or allowlist.use_of
        self.limits = limits
        self.metadata = MetadataBook() if metadata is None else metadata
        self.identity = identity
        self._guard = Guard(series_limits or SeriesLimits())
        self.replicas = replicas
        self.routing = routing or Routing()
        identities = [replace(identity, instrumentation_key=key) for key in self.routing.keys]
        self._renderer = Renderer(identity, *identities, lanes=self.routing.lanes)
        self._recogniser = Recogniser(cache_bytes) if compiled else None
        self._series = self._recogniser or PlainKnownSeries(cache_bytes)

    def process(self, raw: Raw, message: Message) -> Outcome:
        """Decode, select and render one request.

        Raises: Undecodable for a body that is not the declared message; TooLarge for a body over
        the limits.
        """
        recogniser = self._recogniser
        reading = recogniser.read(raw, message, self.limits.series) if recogniser else None
        if recogniser is None or reading is None:
            return self.process_slowly(bytes(raw), message)
        series, unselected, unselected_samples, known, rendered, template_bytes = reading.counts()
        outcome = Outcome(unselected=unselected_samples)
        outcome.count(unselected_samples + known)
        self._charge(rendered, template_bytes, outcome)
        symbols: Sequence[bytes] = reading.symbols() if series > unselected + known else ()
        for index in reading.unrecognised():
            self._process_unrecognised(reading, index, message, symbols, outcome)
        if not self.replicas:
            return self._finish(reading.rows(), outcome)
        rows = reading.rows(self.replicas.arrived(reading.sources()).tobytes())
        self._account(rows.accounts(), outcome)
        return self._finish(rows, outcome)

    def process_slowly(self, raw: bytes, message: Message) -> Outcome:
        """Process a request with the full parser alone.

        The result equals that of `process`, unless an unselected series is damaged: here it refuses
        the request.

        Raises: Undecodable for a body that is not the declared message; TooLarge for a body over
        the limits.
        """
        check_parts(raw, message, self.limits)
        outcome, rows = Outcome(), PlainRows()
        whole = decode(raw, message, self.limits, self.metadata.put)
        used: Iterable[SeriesSamples]
        used = (rest for series in whole if (rest := self._process_series(series, outcome)))
        if self.replicas:
            used, accounts = self.replicas.filter_counted(list(used))
            self._account(accounts, outcome)
        for template, fold_number, lane, samples, _ in used:
            rows.put(template, fold_number, lane, samples)
        return self._finish(rows, outcome)

    def forget_series(self) -> None:
        """Forget the use of all series, which are decided again when they arrive."""
        self._series.clear()

    def recount_if_due(self, now: float) -> None:
        """Have the guard recount series when due; `now` in seconds. Call it between requests."""
        has_room = self.replicas.make_room() if self.replicas else False
        if self._guard.recount_if_due(now) or has_room:
            self.forget_series()

    def explosion(self) -> Explosion | None:
        """Return the metric with refused new series; None if there is none."""
        return self._guard.explosion()

    def distinct(self) -> Distinct:
        """Return the numbers of distinct series, with their limits."""
        return self._guard.distinct()

    def statistics(self) -> CacheStatistics:
        """Return the counts of known series."""
        return self._series.statistics()

    def _account(self, accounts: Sequence[Account], outcome: Outcome) -> None:
        """Count the samples of replicas that are not the leader."""
        assert self.replicas
        dropped, outcome.notes = self.replicas.account(accounts)
        if dropped:
            outcome.dropped[REPLICA] += dropped

    def _finish(self, rows: Rows, outcome: Outcome) -> Outcome:
        """Render the rows, and count their samples."""
        for value in rows.not_finite():
            outcome.dropped[_why_not_finite(value)] += 1
        if unrouted := rows.unrouted():
            outcome.dropped[UNROUTED] += unrouted
        outcome.folded, outcome.folded_samples, newest_ms = rows.folded()
        times = rows.times() or [newest_ms]
        outcome.oldest_ms, outcome.newest_ms = min(times), max(times)
        outcome.chunks = self._renderer.render(rows)
        outcome.rendered = len(rows)
        outcome.rows = rows
        return outcome

    # A series unknown to the recogniser

    def _process_unrecognised(
        self,
        reading: "Reading",
        index: int,
        message: Message,
        symbols: Sequence[bytes],
        outcome: Outcome,
    ) -> None:
        """Count a series, and put its use into the reading, if its samples are used.

        A series with a key is of the usual shape, with one sample.
        """
        assert self._recogniser is not None
        text, name, labels_size, key = reading.series_at(index)
        if name and (key or message is Message.V1) and not self.allowlist.wants(name):
            self._recogniser.unwanted.put(name)  # its next series are recognised
            samples = reading.skip(index)
            outcome.count(samples)
            outcome.unselected += samples
        elif key and name and not self.replicas and self._guard.refuses(name, hash(key)):
            self._guard.refuse(name, 1)  # not opened: there may be very many
            outcome.count(reading.skip(index), CARDINALITY)
        elif key and (known := self._learn(key, text[:labels_size], message, symbols, outcome)):
            if known.dropped:
                outcome.count(reading.skip(index), known.dropped)
                return  # not cached: it may be accepted later
            reading.set_template(index, known.template, known.fold_number, known.source, known.lane)
            outcome.count(1)
            self._charge(bool(known.template), len(known.template), outcome)
        else:  # another shape, or an error that only the full parser names
            check_series_parts(text, message, self.limits)
            series = decode_series(text, message, symbols, self.limits)
            if used := self._process_series(series, outcome):
                template, fold_number, lane, rows, source = used
                reading.set_template(index, template, fold_number, source, lane, rows)

    def _learn(
        self,
        key: bytes,
        section: bytes,
        message: Message,
        symbols: Sequence[bytes],
        outcome: Outcome,
    ) -> Known | None:
        """Decide a series' use from its label section alone; cache it by its key unless it is dropped.

        None leaves the series to the full parser, which finds the error. A section with anything
        but labels is no key.
        """
        assert self._recogniser is not None
        if known := self._recogniser.get_by_key(key):
            return known
        try:
            series = decode_series(section, message, symbols, self.limits)
            if series.samples or series.histograms or series.exemplars or series.metadata():
                return None
            if not self.allowlist.wants(series.name):
                return None
            known = self._decide(series.label_pairs(), hash(key), 1, outcome)
        except (InvalidSeries, Undecodable):
            return None
        if not known.dropped:
            self._recogniser.put_by_key(key, known)
        return known

    # Any series

    def _process_series(self, series: Series, outcome: Outcome) -> SeriesSamples | None:
        """Count a series, and return the parts of its rows, if any."""
        samples, histograms = len(series.samples), series.histograms
        used = None
        try:
            if series.name and not self.allowlist.wants(series.name):
                outcome.received += samples + histograms  # by its name alone, not opened
                outcome.unselected += samples + histograms
            else:
                used = self._open_series(series, outcome)
        except InvalidSeries as error:
            _refuse(error, samples + histograms, outcome)
        else:
            outcome.written_samples += samples
            outcome.written_histograms += histograms
            outcome.written_exemplars += series.exemplars
        return used

    def _open_series(self, series: Series, outcome: Outcome) -> SeriesSamples | None:
        known = self._known(series, outcome)
        if series.histograms:
            series.check_histograms()
        if metadata := series.metadata():
            self.metadata.put(metadata)
        count = max(len(series.samples), 1)
        self._charge(count * bool(known.template), count * len(known.template), outcome)
        outcome.received += len(series.samples) + series.histograms
        if series.histograms:
            outcome.dropped[NATIVE_HISTOGRAM] += series.histograms
        if known.dropped:
            outcome.dropped[known.dropped] += len(series.samples)
            return None
        samples: list[Sample] = []
        for sample in series.samples:
            if math.isfinite(sample.value) and not self._renderer.has_time(sample.timestamp):
                outcome.dropped[BAD_TIMESTAMP] += 1
            else:
                samples.append((sample.timestamp, sample.value, series.start_of(sample)))
        return known.template, known.fold_number, known.lane, samples, known.source

    def _known(self, series: Series, outcome: Outcome) -> Known:
        pairs = series.label_pairs()
        known = self._series.get(pairs)
        if known is None:
            digest = digest_of(pairs, compiled=self._recogniser is not None)
            known = self._decide(pairs, digest, len(series.samples), outcome)
            if not known.dropped:
                self._series.put(pairs, known)
        return known

    def _decide(self, pairs: Sequence[bytes], digest: int, samples: int, outcome: Outcome) -> Known:
        """Return a series' use by metrics.json, within the limits on series. Raises: InvalidSeries."""
        labels, source = read_labels(pairs), 0
        if self.replicas:
            number = self.replicas.source_of(labels)
            if number is None:
                return Known(b"", 0, dropped=REPLICA_LIMIT)
            source, digest = number, hash(tuple(sorted(labels.items())))
        name = labels["__name__"].encode()
        if self._guard.refuses(name, digest):
            self._guard.refuse(name, samples)
            return Known(b"", 0, dropped=CARDINALITY)
        known = self._find_use(labels, source, outcome)
        if not known.dropped:
            self._guard.admit(name, digest, labels)
        return known

    def _find_use(self, labels: Mapping[str, str], source: int, outcome: Outcome) -> Known:
        lane = self.routing.number_of(labels)
        if lane == NO_LANE:
            return Known(b"", 0, lane, source=source)
        use = self._use_of(labels)
        if use.rendered is None:
            return Known(b"", use.fold_number, lane, use.dropped, source)
        template = self._renderer.template_of(use.rendered, lane)
        outcome.labels_cut += template.cut
        outcome.labels_left_out += template.left_out
        dropped = use.dropped
        if not template.middle and not use.fold_number:
            dropped = NAME_TOO_LONG
        return Known(template.middle, use.fold_number, lane, dropped, source)

    def _charge(self, lines: int, template_bytes: int, outcome: Outcome) -> None:
        """Refuse a request whose rendered size would be too large. Raises: TooMuchToRender."""
        common = self._renderer.common_bytes
        outcome.rendered_bytes += lines * (ROW_OVERHEAD_BYTES + common) + template_bytes
        limit = self.limits.rendered_bytes
        if outcome.rendered_bytes > limit:
            message = f"the samples would take more than {limit} bytes, each with its labels"
            raise TooMuchToRender(message)


def _why_not_finite(value: float) -> str:
    if math.isinf(value):
        return INFINITE
    return STALE if struct.pack("<d", value) == _STALE_BITS else NAN


def _refuse(error: InvalidSeries, samples: int, outcome: Outcome) -> None:
    outcome.received += samples
    if samples:
        outcome.dropped[INVALID_SERIES] += samples
    outcome.refused[error.series_reason] += 1
    if len(outcome.refused_examples) < 3:
        outcome.refused_examples.append(str(error))
