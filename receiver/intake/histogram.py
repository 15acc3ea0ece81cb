"""The checks of native histograms that a receiver must make.

In: a Histogram message's bytes, from 1.0 or 2.0. Out: its error, or an empty text. Native
histograms are not sent to Azure; those of selected series are checked because a 2xx confirms
that they are valid.

Rules: Prometheus' model/histogram, Validate of Histogram and FloatHistogram.
"""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from google.protobuf.message import DecodeError

from receiver.intake.wire.remote_write_v2_pb2 import Histogram

CUSTOM_BUCKETS = -53
SCHEMAS = range(-9, 53)
"""Exponential schemas, including those that a reader must reduce in resolution."""
SIZE_LIMIT_BYTES = 64 << 10


def problem(raw: bytes, *, bounds_travel: bool = True) -> str:
    """Return a histogram's error, as words after "a histogram"; empty for none.

    Only 2.0 carries the bounds of custom buckets (`bounds_travel`): over 1.0 they are missing,
    which is not refused.
    """
    if len(raw) > SIZE_LIMIT_BYTES:
        return f"has more than {SIZE_LIMIT_BYTES} bytes"
    try:
        histogram = Histogram.FromString(raw)
    except DecodeError:
        return "cannot be read"
    if histogram.schema == CUSTOM_BUCKETS and not bounds_travel:
        return ""
    if histogram.schema == CUSTOM_BUCKETS:
        problem = _custom_problem(histogram)
    elif histogram.schema not in SCHEMAS:
        problem = f"has the schema {histogram.schema}, which is none"
    else:
        problem = "has custom values without custom buckets" if histogram.custom_values else ""
    if problem:
        return problem
    if histogram.WhichOneof("count") == "count_float":
        return _float_problem(histogram)
    return _integer_problem(histogram)


def _custom_problem(histogram: Any) -> str:
    if histogram.negative_spans or histogram.negative_deltas or histogram.negative_counts:
        return "has negative buckets beside custom ones"
    if histogram.zero_count_int or histogram.zero_count_float or histogram.zero_threshold:
        return "has a zero bucket beside custom ones"
    bounds = histogram.custom_values
    if any(not low < high for low, high in pairwise((-math.inf, *bounds))):
        return "has custom bounds that do not rise"
    if bounds and bounds[-1] == math.inf:
        return "names infinity as a bound, which is always one"
    if sum(span.offset + span.length for span in histogram.positive_spans) > len(bounds) + 1:
        return "has more custom buckets than bounds"
    if histogram.positive_spans and histogram.positive_spans[0].offset < 0:
        return "has a custom bucket before the first"
    return ""


def _integer_problem(histogram: Any) -> str:
    total = histogram.zero_count_int
    for spans, deltas in (
        (histogram.negative_spans, histogram.negative_deltas),
        (histogram.positive_spans, histogram.positive_deltas),
    ):
        counts = list(accumulate(deltas))
        if problem := _bucket_problem(spans, counts):
            return problem
        total += sum(counts)
    count = histogram.count_int
    if total > count or (total != count and not math.isnan(histogram.sum)):
        return f"counts {count}, its buckets {total}"
    return ""


def _float_problem(histogram: Any) -> str:
    """Check a histogram of floats; rounded sums are not compared."""
    if histogram.count_float < 0 or histogram.zero_count_float < 0:
        return "has a count below zero"
    return _bucket_problem(histogram.negative_spans, histogram.negative_counts) or _bucket_problem(
        histogram.positive_spans, histogram.positive_counts
    )


def _bucket_problem(spans: Any, counts: Sequence[float]) -> str:
    if any(span.offset < 0 for span in spans[1:]):
        return "has spans that overlap"
    spanned = sum(span.length for span in spans)
    if spanned != len(counts):
        return f"has spans for {spanned} buckets, and {len(counts)} buckets"
    return "has a bucket below zero" if any(count < 0 for count in counts) else ""
