"""The series that a forecast counts: those of a metrics page or of a Prometheus.

In: an address, a file or a Prometheus. Out: series with their labels, values and intervals.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from receiver.cli.fetch import NoAnswer, get_text, is_address
from receiver.cli.prometheus.addresses import masked
from receiver.cli.prometheus.config import read_config
from receiver.cli.prometheus.intervals import Intervals, as_said, assumed, of_config, of_live
from receiver.cli.prometheus.yaml_file import Unreadable
from receiver.cli.upstream import ask_prometheus, ask_vector
from receiver.intake.metrics_json import Allowlist
from receiver.pack.forecast import Seen, with_rates

TARGET = {"job": "triton", "instance": "triton:8002"}


@dataclass(frozen=True, slots=True)
class Scene:
    """The basis of a forecast: series with their intervals, and the intervals' source."""

    series: Sequence[Seen]
    intervals: Intervals


def read_scene(
    source: str,
    scrape_seconds: float = 0.0,
    prometheus: str = "",
    allowlist: Allowlist | None = None,
) -> Scene:
    """Read the series and their intervals. Raises: NoAnswer.

    The intervals are from `scrape_seconds`, else from `prometheus`, a prometheus.yml or the address
    of a running Prometheus, else from `source`, if it is a Prometheus. Series are Triton's and
    those that `allowlist` selects.
    """
    is_live = is_address(source) and not is_page(source)
    if is_live:
        series = _ask_series(source, allowlist)
    else:
        series = with_rates(read_page(_text_of(source), source, allowlist))
    if scrape_seconds:
        intervals = as_said(scrape_seconds)
    elif prometheus:
        intervals = read_intervals(prometheus)
    else:
        intervals = intervals_if_any(source if is_live else "")
    return Scene(intervals.applied(series), intervals)


def intervals_if_any(prometheus: str) -> Intervals:
    """Read the intervals from a Prometheus; without an answer assume the default."""
    if not prometheus:
        return assumed()
    try:
        return read_intervals(prometheus)
    except NoAnswer as error:
        return assumed(str(error))


def read_intervals(prometheus: str) -> Intervals:
    """Read the intervals from a prometheus.yml or a running Prometheus. Raises: NoAnswer."""
    if not is_address(prometheus):
        try:
            return of_config(read_config(Path(prometheus)), prometheus)
        except Unreadable as error:
            raise NoAnswer(str(error)) from error
    answered = ask_prometheus(prometheus)
    if answered.error:
        raise NoAnswer(answered.error)
    return of_live(answered, masked(prometheus))


def is_page(address: str) -> bool:
    """Whether an address is a metrics page; else it is a Prometheus."""
    return address.rstrip("/").endswith("/metrics")


def _ask_series(url: str, allowlist: Allowlist | None) -> list[Seen]:
    names = [entry.name for entry in allowlist.entries] if allowlist else []
    others = {_regex(name) for name in names if not name.startswith("nv_")}
    pattern = "|".join(["nv_.+", *sorted(others)]).replace("\\", "\\\\")
    rows = ask_vector(url.rstrip("/"), quote(f'{{__name__=~"{pattern}"}}'))
    series = [Seen(row["metric"], float(row["value"][1])) for row in rows]
    return _known_only(series, url, allowlist)


def _regex(glob: str) -> str:
    """Return a glob as a regular expression for Prometheus."""
    return re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")


def _text_of(source: str) -> str:
    if is_address(source):
        return get_text(source)
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{masked(source)} cannot be read: {error}") from error


def read_page(text: str, source: str, allowlist: Allowlist | None = None) -> list[Seen]:
    """Read a page of Prometheus' exposition format, with a target's labels. Raises: NoAnswer.

    Types are ignored: with them the parser would rename counters.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    try:
        series = [
            Seen({"__name__": sample.name, **sample.labels, **TARGET}, sample.value)
            for family in text_string_to_metric_families(f"{lines}\n")
            for sample in family.samples
        ]
    except ValueError as error:
        raise NoAnswer(f"{masked(source)} is not a metrics page: {error}") from error
    return _known_only(series, source, allowlist)


def _known_only(series: Sequence[Seen], source: str, allowlist: Allowlist | None) -> list[Seen]:
    """Refuse a source without known series. Raises: NoAnswer."""
    if not any(
        row.name.startswith("nv_") or (allowlist and allowlist.matches(row.name)) for row in series
    ):
        raise NoAnswer(
            f"{masked(source)} has no metrics of Triton: is it Triton's metrics page, or a Prometheus?"
        )
    return list(series)
