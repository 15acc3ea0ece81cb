"""`suggest`: a metrics.json for the metrics of a Triton or a Prometheus, with its cost."""

import argparse
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver.cli.fetch import NoAnswer, is_address
from receiver.cli.prometheus.addresses import masked
from receiver.cli.scene import Scene, intervals_if_any, is_page, read_scene
from receiver.cli.terminal import BOLD, DIM, err
from receiver.cli.what_if import Costs, count, count_costs, routed, sentences
from receiver.config.resources import load_routing
from receiver.config.settings import Origin, Settings
from receiver.errors import ReceiverError, SettingsError
from receiver.intake.metrics_json import parse
from receiver.intake.routes import Routing
from receiver.pack.forecast import MONTH_MINUTES, Forecast
from receiver.pack.proposals import propose, to_text
from receiver.triton import METRICS, Category, series_names

ALIASES = {"count": Category.COUNT, "latency": Category.LATENCY, "summary": Category.SUMMARY, "gpu": Category.GPU, "cpu": Category.CPU, "other": Category.OTHER}  # fmt: skip


class NotWritten(ReceiverError):
    """The file cannot be written; the message says why."""

    reason = "not_written"


@dataclass(frozen=True, slots=True)
class Choice:
    """One category's entries, as in the file, and their forecast for a month."""

    entries: Sequence[Any]
    month: Forecast


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Read the source, choose entries, and print them with their cost. Raises: SettingsError, NoAnswer, NotWritten."""
    wanted = [word.strip().lower() for word in given.category.split(",") if word.strip()]
    if unknown := [word for word in wanted if word not in ALIASES]:
        raise SettingsError(f"no category {', '.join(unknown)}; there are {', '.join(ALIASES)}")
    routing = load_routing(settings)
    scene = read(given)
    categories = _choose(given, routed(routing, scene), wanted or list(ALIASES), settings, routing)
    chosen = [name for name in ALIASES if categories[name].entries and name in (wanted or ALIASES)]
    entries = [entry for name in chosen for entry in categories[name].entries]
    if not entries:
        dropped = ", or routes.json drops them" if routing.drops_unmatched else ""
        raise NoAnswer(f"{masked(given.source)} has no metrics of Triton in these categories{dropped}")  # fmt: skip
    _say_costs(categories, chosen, settings.price_per_gb)
    text = to_text(entries)
    _print_sentences(text, scene, raw=given.raw)
    costs = count_costs(routing, parse(text, "the suggestion"), scene, settings)
    total, *by_route = sentences(costs, settings)
    for sentence in (f"costs {total}", *by_route):
        err().line(f"  {sentence}")
    if given.output:
        try:
            with Path(given.output).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise NotWritten(f"{given.output}: {error.strerror}") from error
    elif given.json:
        print(json.dumps(_document(entries, categories, chosen, costs), indent=2))
    else:
        print(text, end="")
    return 0


def read(given: argparse.Namespace) -> Scene:
    """Read the names; and from Prometheus, if it answers, the rules and the scrape interval. Raises: NoAnswer."""
    scene = read_scene(given.source, given.scrape_seconds or 0.0)
    if is_address(given.source) and not is_page(given.source):
        return scene
    asked = intervals_if_any(given.prometheus_url)
    if not asked.is_known:
        return scene
    intervals = scene.intervals if given.scrape_seconds else asked
    return Scene(asked.applied(scene.series), intervals)


def _choose(
    given: argparse.Namespace,
    scene: Scene,
    wanted: Collection[str],
    settings: Settings,
    routing: Routing,
) -> dict[str, Choice]:
    """Choose the entries of all categories; unwanted categories are for comparison."""
    names = {series.name for series in scene.series}
    together = list(propose(names, [ALIASES[name] for name in wanted]))
    choices = {}
    for name, category in ALIASES.items():
        if given.raw:
            entries: list[Any] = _raw(category, names, counters=given.counters)
        else:
            folding = together if name in wanted else propose(names, [category])
            entries = [
                dict(proposal.entry) for proposal in folding if proposal.category is category
            ]
        month = Forecast([])
        if entries:
            month = count(parse(to_text(entries), "the suggestion"), scene, settings, routing)
        choices[name] = Choice(entries, month)
    return choices


def _raw(category: Category, names: Collection[str], *, counters: bool) -> list[Any]:
    """Choose raw samples: a counter's _irate where a rule records it, else the counter."""
    taken: list[Any] = []
    for metric in METRICS:
        if metric.category is not category:
            continue
        there = [name for name in series_names(metric) if name in names]
        rates = [name for name in there if name.endswith("_irate")]
        plain = [name for name in there if not name.endswith("_irate")]
        taken += rates[:1]
        if not rates or counters:
            taken += plain
        elif category is Category.SUMMARY:
            taken += plain[:1]
    return taken


def _document(
    entries: Sequence[Any],
    categories: Mapping[str, Choice],
    chosen: Sequence[str],
    costs: Costs,
) -> dict[str, Any]:
    return {
        "customMetrics": entries,
        "categories": {
            name: {
                "entries": choice.entries,
                "items_per_second": round(choice.month.items / MONTH_MINUTES / 60, 3),
                "items": round(choice.month.items),
                "billed_gb": choice.month.billed_bytes / 1e9,
            }
            for name, choice in categories.items()
        },
        "chosen": chosen,
        "routes": [
            {
                "route": name,
                "series": route.series,
                "items": round(route.items),
                "billed_gb": route.billed_bytes / 1e9,
            }
            for name, route in costs.routes.items()
        ],
    }


def _say_costs(categories: Mapping[str, Choice], chosen: Sequence[str], price: float) -> None:
    printer = err()
    printer.line(f"{'category':<10} {'entries':>7} {'series':>7} {'items/month':>12} {'GB billed/month':>16}" + ("  money" if price else ""), BOLD)  # fmt: skip
    for name, choice in categories.items():
        month, gigabytes = choice.month, choice.month.billed_bytes / 1e9
        money = f"  {gigabytes * price:.2f}" if price else ""
        taken = "" if name in chosen else "  (not taken)"
        printer.line(f"{name:<10} {len(choice.entries):>7} {month.series:>7} {month.items:>12,.0f} {gigabytes:>16.3f}{money}{taken}", DIM if taken else "")  # fmt: skip


def _print_sentences(text: str, scene: Scene, *, raw: bool) -> None:
    """Print the effect of each entry, as the receiver's own parser reads it."""
    printer = err()
    printer.line()
    if not scene.intervals.is_known:
        printer.line("  --scrape-seconds or --prometheus-url gives the scrape interval", DIM)
    if not raw:
        for entry in parse(text, "the suggestion").entries:
            printer.line(f"  {entry.sentence()}")
        printer.line("  --raw sends every sample unchanged instead", DIM)
        return
    if scene.intervals.by_rule is None:
        printer.line("  assumed: prometheus/rules/triton_irate.yml is loaded, which records the _irate names; give --prometheus-url to check")  # fmt: skip
    if any(series.name.startswith("nv_gpu_") for series in scene.series):
        printer.line("  with a GPU, a model that was loaded after Triton's start has two sets of series, one with gpu_uuid: sum by model and version")  # fmt: skip
