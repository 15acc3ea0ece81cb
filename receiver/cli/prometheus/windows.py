"""Whether a recording rule's window holds the two scrapes that a rate needs, per job. Pure.

In: the rules' windows, and the scrape interval of each job. Out: findings. A rate over a
window shorter than two scrape intervals has gaps or no value at all; over exactly two, one
late scrape is a gap (Prometheus 3 excludes a sample on the window's far edge).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.promql import Look


@dataclass(frozen=True, slots=True)
class Pace:
    """A job's scrape interval; `certain` where the series are known to come from that job."""

    job: str
    seconds: float
    certain: bool = True


def judge_windows(
    rules: Mapping[str, Sequence[Look]], paces: Mapping[Look, Sequence[Pace]]
) -> Iterator[Finding]:
    """Check the rules, keyed by recorded name; like findings are merged into the worst."""
    narrow: dict[tuple[float, str, float], list[str]] = {}
    certain: dict[tuple[float, str, float], bool] = {}
    for name, looks in rules.items():
        for look in looks:
            worst = _worst(look, paces.get(look, ()))
            if worst:
                key = (look.seconds, worst.job, worst.seconds)
                narrow.setdefault(key, []).append(name)
                certain[key] = worst.certain
    for key, names in narrow.items():
        yield _say(*key, names, certain=certain[key])


def _worst(look: Look, paces: Sequence[Pace]) -> Pace | None:
    if not look.wants_two:
        return None
    slow = [pace for pace in paces if look.seconds <= 2 * pace.seconds]
    if not slow:
        return None
    worst = max(slow, key=lambda pace: pace.seconds)
    all_slow = all(look.seconds < 2 * pace.seconds for pace in paces)
    return Pace(worst.job, worst.seconds, worst.certain or all_slow)


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
