"""`suggest`: a metrics.json from what a Triton or a Prometheus shows, with what it costs."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from receiver.cli.fetch import NoAnswer, exposed, get_text
from receiver.cli.folded_file import propose
from receiver.cli.prometheus.addresses import masked
from receiver.cli.terminal import BOLD, DIM, err
from receiver.cli.upstream import Prometheus, ask_paces, ask_prometheus, ask_vector
from receiver.cli.what_if import compared, count, others, read_series
from receiver.config.settings import Origin, Settings
from receiver.errors import ReceiverError, SettingsError
from receiver.intake.metrics_json import parse
from receiver.status.cost import LINE_BYTES, Price, estimate
from receiver.triton import METRICS, Category, series_names

SCRAPE_SECONDS = 15.0
IRATE_SECONDS = 60.0
ALIASES = {"count": Category.COUNT, "latency": Category.LATENCY, "summary": Category.SUMMARY, "gpu": Category.GPU, "cpu": Category.CPU, "other": Category.OTHER}  # fmt: skip


class NotWritten(ReceiverError):
    """The file cannot be written; the message says why."""

    reason = "not_written"


@dataclass(slots=True)
class Seen:
    """What is there: the series of each name, what rules record, and how often samples come.

    `notes` say where these were learnt, or that they are supposed.
    """

    series: Mapping[str, int]
    recorded: Mapping[str, float] | None = None
    scrape_seconds: float = SCRAPE_SECONDS
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Choice:
    """One category's entries, as they stand in the file, and their items a second at most."""

    entries: Sequence[Any]
    items_per_second: float


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Ask, choose, and say what it costs. Raises: SettingsError, NoAnswer, NotWritten."""
    wanted = [each.strip().lower() for each in given.category.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in ALIASES]:
        raise SettingsError(f"no category {', '.join(unknown)}; there are {', '.join(ALIASES)}")
    seen = _ask(given)
    categories = {
        name: _raw(category, seen, counters=given.counters) if given.raw else _folded(category, seen.series)
        for name, category in ALIASES.items()
    }  # fmt: skip
    chosen = [name for name in ALIASES if categories[name].entries and name in (wanted or ALIASES)]
    entries = [entry for name in chosen for entry in categories[name].entries]
    if not entries:
        raise NoAnswer(f"{masked(given.source)} shows nothing of Triton's in these categories")
    _say_costs(categories, chosen, settings.price_per_gb)
    text = to_text(entries)
    _say_what_it_does(text, seen, raw=given.raw)
    _say_what_it_costs(text, given.source, seen, settings)
    if given.output:
        try:
            with Path(given.output).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise NotWritten(f"{given.output}: {error.strerror}") from error
    elif given.json:
        print(json.dumps(_document(entries, categories, chosen), indent=2))
    else:
        print(text, end="")
    return 0


def to_text(entries: Sequence[Any]) -> str:
    """Write the file, a line an entry."""
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in entries)
    return f'{{\n  "customMetrics": [\n{lines}\n  ]\n}}\n'


def _document(
    entries: Sequence[Any], categories: Mapping[str, Choice], chosen: Sequence[str]
) -> dict[str, Any]:
    return {
        "customMetrics": entries,
        "categories": {
            name: {"entries": choice.entries, "items_per_second": choice.items_per_second}
            for name, choice in categories.items()
        },
        "chosen": chosen,
    }


def _ask(given: argparse.Namespace) -> Seen:
    """Ask what there is; and Prometheus, if one answers, how often and by which rules. Raises: NoAnswer."""
    source = given.source.rstrip("/")
    is_triton = source.endswith("/metrics")
    if is_triton:
        seen = Seen(exposed(get_text(source)))
    else:
        result = ask_vector(source, quote('count by (__name__) ({__name__=~"nv_.+"})'))
        seen = Seen({each["metric"]["__name__"]: int(each["value"][1]) for each in result})
    url = given.prometheus_url if is_triton else source
    prometheus = ask_prometheus(url) if url else Prometheus(error="not asked")
    if not prometheus.error:
        seen.recorded = {rule.name: rule.seconds or IRATE_SECONDS for rule in prometheus.rules}
    _set_interval(given, seen, prometheus, url)
    return seen


def _set_interval(given: argparse.Namespace, seen: Seen, prometheus: Prometheus, url: str) -> None:
    if given.scrape_seconds:
        seen.scrape_seconds = given.scrape_seconds
        return
    if not (prometheus.error or prometheus.is_agent):
        try:
            paces = ask_paces(url, prometheus, [name for name in seen.series if name.startswith("nv_")])  # fmt: skip
        except NoAnswer:
            paces = {}
        intervals = [pace.seconds for found in paces.values() for pace in found]
        if intervals:
            seen.scrape_seconds = min(intervals)
            seen.notes.append(f"scraped every {min(intervals):g} s, as {masked(url)} says")
            return
    seen.notes.append(f"supposed: scraped every {SCRAPE_SECONDS:g} s; --scrape-seconds, or --prometheus-url, says better")  # fmt: skip


def _folded(category: Category, seen: Mapping[str, int]) -> Choice:
    chosen = propose(category, seen)
    pace = sum(count / proposal.every_seconds for proposal, count in chosen)
    return Choice([dict(proposal.entry) for proposal, _ in chosen], round(pace, 3))


def _raw(category: Category, seen: Seen, *, counters: bool) -> Choice:
    """Take every sample: of a counter its _irate where a rule records it, else the counter."""
    names: list[str] = []
    per_second = 0.0
    series = seen.series
    for metric in METRICS:
        if metric.category is not category or not any(each in series for each in series_names(metric)):  # fmt: skip
            continue
        irate = f"{metric.name}_irate"
        is_rated = metric.rated and (seen.recorded is None or irate in seen.recorded)
        if is_rated:
            names.append(irate)
            count = series.get(metric.name) or series.get(f"{metric.name}_count") or 1
            means = series.get(f"{metric.name}_count", count) if category is Category.SUMMARY else count  # fmt: skip
            per_second += means / (seen.recorded or {}).get(irate, IRATE_SECONDS)
        if not is_rated or counters or category is Category.SUMMARY:
            raw = [each for each in series_names(metric) if each in series and not each.endswith("_irate")]  # fmt: skip
            raw = raw if counters or not is_rated else raw[:1]
            names += raw
            per_second += sum(series[each] for each in raw) / seen.scrape_seconds
    return Choice(names, round(per_second, 3))


def _say_costs(categories: Mapping[str, Choice], chosen: Sequence[str], price: float) -> None:
    printer = err()
    printer.line(f"{'category':<10} {'entries':>7} {'items/month':>12} {'GB billed/month':>16}" + ("  money" if price else ""), BOLD)  # fmt: skip
    for name, found in categories.items():
        month = estimate(found.items_per_second, LINE_BYTES, Price(price))[-1]
        money = f"  {month.money:.2f}" if month.money is not None else ""
        taken = "" if name in chosen else "  (not taken)"
        printer.line(f"{name:<10} {len(found.entries):>7} {month.items:>12,} {month.billed_gb:>16.2f}{money}{taken}", DIM if taken else "")  # fmt: skip


def _say_what_it_costs(text: str, source: str, seen: Seen, settings: Settings) -> None:
    """Forecast the file on the very series, beside what one would compare it with."""
    series = read_series(source)
    allowlist = parse(text, "the suggestion")
    yours = count(allowlist, series, settings, seen.scrape_seconds)
    rest = others(series, settings, seen.scrape_seconds)
    err().line(f"  costs {compared(yours, rest, settings.price_per_gb)}")


def _say_what_it_does(text: str, seen: Seen, *, raw: bool) -> None:
    """Say what each entry does; the file is read as the receiver reads it."""
    printer = err()
    printer.line()
    if not raw:
        for entry in parse(text, "the suggestion").entries:
            printer.line(f"  {entry.sentence()}")
        printer.line("  --raw: every sample as it comes instead", DIM)
        return
    for note in seen.notes:
        printer.line(f"  {note}")
    if seen.recorded is None:
        printer.line("  supposed: prometheus/rules/triton_irate.yml is loaded, which makes the _irate names; --prometheus-url asks")  # fmt: skip
    if any(name.startswith("nv_gpu_") for name in seen.series):
        printer.line("  with a GPU, a model that was loaded after Triton's start has two sets of series, one with gpu_uuid: sum by model and version")  # fmt: skip
