"""The cost of a metrics.json on the series of a metrics page or of a Prometheus.

In: an address, a file or a Prometheus, and settings. Out: the series with their labels,
values and intervals, and forecasts: of the file in use, of the same metrics folded and raw,
of the folded example, of all of Triton's raw.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from receiver.azure.envelope import Identity
from receiver.azure.renderer import NO_LANE
from receiver.cli.fetch import NoAnswer, get_text, is_address
from receiver.cli.prometheus.addresses import masked
from receiver.cli.prometheus.config import read_config
from receiver.cli.prometheus.intervals import Intervals, as_said, assumed, of_config, of_live
from receiver.cli.prometheus.yaml_file import Unreadable
from receiver.cli.upstream import ask_prometheus, ask_vector
from receiver.config.settings import Settings
from receiver.intake.metrics_json import Allowlist, parse
from receiver.intake.routes import Routing, shown
from receiver.pack.forecast import (
    Comparison,
    Forecast,
    Seen,
    compare,
    forecast,
    forecast_by,
    with_rates,
)

KEY = "00000000-0000-0000-0000-000000000000"
"""A key of the usual length."""
RAW = '{"customMetrics": ["nv_*"]}'
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


def folded_example() -> Allowlist:
    """Read the packaged example of folding."""
    text = resources.files("receiver.config").joinpath("folded_metrics.json").read_bytes()
    return parse(text, "folded_metrics.json")


def identity_of(settings: Settings) -> Identity:
    """Return the identity of the items."""
    return Identity(
        KEY, settings.host, settings.cloud_role, settings.cloud_role_instance, settings.slim_items
    )


def count(allowlist: Allowlist, scene: Scene, settings: Settings) -> Forecast:
    """Forecast one metrics.json."""
    return forecast(allowlist, scene.series, identity_of(settings), factor=settings.billed_factor)


def count_forms(allowlist: Allowlist, scene: Scene, settings: Settings) -> Comparison:
    """Forecast one metrics.json, and its metrics folded and raw."""
    return compare(allowlist, scene.series, identity_of(settings), factor=settings.billed_factor)


def routed(routing: Routing, scene: Scene) -> Scene:
    """Return the scene without the series that routes.json drops."""
    sent = [row for row in scene.series if routing.number_of(row.labels) != NO_LANE]
    return Scene(sent, scene.intervals)


def count_routes(
    routing: Routing, allowlist: Allowlist, scene: Scene, settings: Settings
) -> dict[str, Forecast]:
    """Forecast each route by itself, in the order of routes.json, the receiver's own last."""
    identity = identity_of(settings)
    counted = forecast_by(
        lambda row: routing.name_of(row.labels),
        allowlist,
        scene.series,
        identity,
        factor=settings.billed_factor,
    )
    none = forecast(allowlist, (), identity)
    names = [route.name for route in routing.routes]
    own = [] if routing.drops_unmatched else [""]
    return {shown(name): counted.get(name, none) for name in (*names, *own)}


def others(scene: Scene, settings: Settings) -> dict[str, Forecast]:
    """Forecast two other files, for comparison."""
    plain = Scene([row for row in scene.series if not row.name.endswith("_irate")], scene.intervals)  # fmt: skip
    return {
        "folded example": count(folded_example(), scene, settings),
        "all of Triton's, raw": count(parse(RAW, "raw"), plain, settings),
    }


def forms(counted: Comparison) -> Mapping[str, Forecast]:
    """Return the other forms of a selection by name, without the selection itself."""
    named = {"the same, folded": counted.folded, "the same, raw": counted.raw}
    return {name: form for name, form in named.items() if form.lines != counted.yours.lines}


def in_words(total: Forecast, price: float) -> str:
    """Describe a month's items, gigabytes and money."""
    gigabytes = total.billed_bytes / 1e9
    money = f", {gigabytes * price:.2f}" if price else ""
    return f"{total.items:,.0f} items, {gigabytes:.3f} GB{money} a month"


def compared(counted: Comparison, scene: Scene, price: float) -> str:
    """Describe a file's cost, the cost of its other forms, and the basis, in a sentence."""
    beside = "; ".join(f"{name}: {in_words(form, price)}" for name, form in forms(counted).items())
    shown = f" ({beside})" if beside else ""
    return f"about {in_words(counted.yours, price)}{shown}; {len(scene.series)} series, scraped {scene.intervals.words}"


def _known_only(series: Sequence[Seen], source: str, allowlist: Allowlist | None) -> list[Seen]:
    """Refuse a source without known series. Raises: NoAnswer."""
    if not any(
        row.name.startswith("nv_") or (allowlist and allowlist.matches(row.name)) for row in series
    ):
        raise NoAnswer(
            f"{masked(source)} has no metrics of Triton: is it Triton's metrics page, or a Prometheus?"
        )
    return list(series)
