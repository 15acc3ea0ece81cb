"""The check of recording rules' windows: a rate needs two scrapes in its window. Pure.

In: the rules' windows, and the scrape interval of each job. Out: findings. A rate over a
window shorter than two scrape intervals has gaps or no value at all; over exactly two, one
late scrape is a gap (Prometheus 3 excludes a sample on the window's far edge).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.promql import RangeCall


@dataclass(frozen=True, slots=True)
class SampleInterval:
    """A job's scrape interval; `certain` where the series are known to come from that job."""

    job: str
    seconds: float
    certain: bool = True


def judge_windows(
    rules: Mapping[str, Sequence[RangeCall]],
    intervals: Mapping[RangeCall, Sequence[SampleInterval]],
) -> Iterator[Finding]:
    """Check the rules, keyed by recorded name; like findings are merged into the worst."""
    narrow: dict[tuple[float, str, float], list[str]] = {}
    certain: dict[tuple[float, str, float], bool] = {}
    for name, range_calls in rules.items():
        for call in range_calls:
            worst = _worst(call, intervals.get(call, ()))
            if worst:
                key = (call.seconds, worst.job, worst.seconds)
                narrow.setdefault(key, []).append(name)
                certain[key] = worst.certain
    for key, names in narrow.items():
        yield _say(*key, names, certain=certain[key])


def _worst(call: RangeCall, intervals: Sequence[SampleInterval]) -> SampleInterval | None:
    if not call.wants_two:
        return None
    slow = [interval for interval in intervals if call.seconds <= 2 * interval.seconds]
    if not slow:
        return None
    worst = max(slow, key=lambda interval: interval.seconds)
    all_slow = all(call.seconds < 2 * interval.seconds for interval in intervals)
    return SampleInterval(worst.job, worst.seconds, worst.certain or all_slow)


def _say(
    window: float, job: str, scraped: float, names: Sequence[str], *, certain: bool
) -> Finding:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    what = f"{names[0]}{more}: window of {window:g} s, and job {job} is scraped every {scraped:g} s"
    fix = f"Scrape it every {window / 4:g} s or more often, or widen the window: [{round(4 * scraped)}s]."
    if window == 2 * scraped:
        return Finding(
            "window",
            Mark.WARN,
            f"{what}: only two scrapes fit, so one late scrape leaves a gap",
            fix,
        )
    if certain:
        return Finding(
            "window", Mark.FAIL, f"{what}: two scrapes must fit, or there is no value", fix
        )
    return Finding(
        "window", Mark.WARN, f"{what}: two scrapes must fit, if {job} scrapes Triton", fix
    )
