"""`suggest`: a metrics.json from what a Triton or a Prometheus shows, with what it costs."""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from receiver.cli.fetch import NoAnswer, exposed, get_text
from receiver.cli.upstream import ask_vector
from receiver.config.settings import Origin, Settings, read_seconds
from receiver.errors import ReceiverError, SettingsError
from receiver.status.cost import LINE_BYTES, estimate
from receiver.triton import METRICS, Category, series_names

TRITON = "http://localhost:8002/metrics"
IRATE_SECONDS = 60.0
ALIASES = {"count": Category.COUNT, "latency": Category.LATENCY, "summary": Category.SUMMARY, "gpu": Category.GPU, "cpu": Category.CPU, "other": Category.OTHER}  # fmt: skip


class NotWritten(ReceiverError):
    """The file cannot be written; the message says why."""

    reason = "not_written"


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Ask, choose, and tell. Raises: SettingsError, NoAnswer, NotWritten."""
    wanted = [each.strip().lower() for each in given.category.split(",") if each.strip()]
    if unknown := [each for each in wanted if each not in ALIASES]:
        raise SettingsError(f"no category {', '.join(unknown)}; there are {', '.join(ALIASES)}")
    seen = _series(given.source)
    categories = {
        name: _choose(
            category, seen, counters=given.counters, scrape_seconds=given.scrape_seconds or 15.0
        )
        for name, category in ALIASES.items()
    }
    chosen = [name for name in ALIASES if categories[name]["names"] and name in (wanted or ALIASES)]
    names = [metric for name in chosen for metric in categories[name]["names"]]
    if not names:
        raise NoAnswer(f"{given.source} shows nothing of Triton's in these categories")
    document = {"customMetrics": names}
    _tell_costs(categories, chosen, settings.price_per_gb)
    if given.output:
        try:
            with Path(given.output).open("x", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=2) + "\n")
        except OSError as error:
            raise NotWritten(f"{given.output}: {error.strerror}") from error
    elif given.json:
        print(json.dumps({**document, "categories": categories, "chosen": chosen}, indent=2))
    else:
        print(json.dumps(document, indent=2))
    return 0


def read_interval(text: str) -> float:
    """Read the time between two scrapes, in seconds. Raises: ArgumentTypeError."""
    with suppress(ValueError):
        if (seconds := read_seconds(text)) > 0:
            return seconds
    raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds like 15')


def _series(source: str) -> Mapping[str, int]:
    """Count the series of each name. Raises: NoAnswer."""
    source = source.rstrip("/")
    if source.endswith("/metrics"):
        return exposed(get_text(source))
    result = ask_vector(source, quote('count by (__name__) ({__name__=~"nv_.+"})'))
    return {each["metric"]["__name__"]: int(each["value"][1]) for each in result}


def _choose(category: Category, seen: Mapping[str, int], *, counters: bool, scrape_seconds: float) -> dict[str, Any]:  # fmt: skip
    names: list[str] = []
    per_second = 0.0
    for metric in METRICS:
        if metric.category is not category or not any(each in seen for each in series_names(metric)):  # fmt: skip
            continue
        series = seen.get(metric.name) or seen.get(f"{metric.name}_count") or 1
        if metric.rated:
            names.append(f"{metric.name}_irate")
            means = seen.get(f"{metric.name}_count", series) if category is Category.SUMMARY else series  # fmt: skip
            per_second += means / IRATE_SECONDS
        if not metric.rated or counters or category is Category.SUMMARY:
            raw = [each for each in series_names(metric) if each in seen and not each.endswith("_irate")]  # fmt: skip
            raw = raw if counters or not metric.rated else raw[:1]
            names += raw
            per_second += sum(seen[each] for each in raw) / scrape_seconds
    return {"names": names, "items_per_second": round(per_second, 3)}


def _tell_costs(categories: Mapping[str, dict[str, Any]], chosen: list[str], price: float) -> None:
    print(f"{'category':<10} {'metrics':>7} {'items/month':>12} {'GB billed/month':>16}" + ("  money" if price else ""), file=sys.stderr)  # fmt: skip
    for name, found in categories.items():
        month = estimate(found["items_per_second"], LINE_BYTES, price)[-1]
        money = f"  {month.money:.2f}" if month.money is not None else ""
        taken = "" if name in chosen else "  (not taken)"
        print(f"{name:<10} {len(found['names']):>7} {month.items:>12,} {month.billed_gb:>16.2f}{money}{taken}", file=sys.stderr)  # fmt: skip
