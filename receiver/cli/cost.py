"""`cost`: what a metrics.json will cost, before anything is sent; and how right that is."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from receiver.azure.envelope import Identity
from receiver.cli.fetch import NoAnswer, get_text
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist, parse
from receiver.pack.forecast import Forecast, Seen, forecast, with_rates
from receiver.text import printable

KEY = "00000000-0000-0000-0000-000000000000"
"""As long as any."""
RAW = '{"customMetrics": ["nv_*"]}'
CALIBRATE = ("items", "bytes")


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Ask, count, and print. Raises: SettingsError, NoAnswer."""
    series = read_page(_text(given.source), given.source)
    identity = Identity(
        KEY, settings.host, settings.cloud_role, settings.cloud_role_instance, settings.slim_items
    )

    def count(allowlist: Allowlist, of: Sequence[Seen] = with_rates(series)) -> Forecast:
        seconds = given.scrape_seconds or 15.0
        return forecast(allowlist, of, identity, seconds, settings.billed_factor)

    yours = count(load_allowlist(settings))
    if given.calibrate:
        return _calibrate(given.calibrate, yours, settings)
    others = {
        "folded example": count(folded_example()),
        "all of Triton's, raw": count(parse(RAW, "raw"), series),
    }
    if given.json:
        print(json.dumps(_document(yours, others, settings.price_per_gb), indent=2))
    else:
        _print(yours, others, settings.price_per_gb)
    return 0


def folded_example() -> Allowlist:
    """Read the metrics.json that the package proposes."""
    text = resources.files("receiver.config").joinpath("folded_metrics.json").read_bytes()
    return parse(text, "folded_metrics.json")


def read_page(text: str, source: str) -> list[Seen]:
    """Read the series of a page of Prometheus' exposition format, with a target's labels. Raises: NoAnswer.

    Types are left out: they would have the parser rename counters.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    target = {"job": "triton", "instance": "triton:8002"}
    try:
        found = [
            Seen({"__name__": sample.name, **sample.labels, **target}, sample.value)
            for family in text_string_to_metric_families(f"{lines}\n")
            for sample in family.samples
            if sample.value == sample.value
        ]
    except ValueError as error:
        raise NoAnswer(f"{printable(source)} is no page of metrics: {error}") from error
    if not any(each.name.startswith("nv_") for each in found):
        raise NoAnswer(f"{printable(source)} shows nothing of Triton's")
    return found


def _text(source: str) -> str:
    if source.startswith(("http://", "https://")):
        return get_text(source)
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{printable(source)} cannot be read: {error}") from error


def _calibrate(text: str, yours: Forecast, settings: Settings) -> int:
    """Compare the estimate with what a resource's own query says."""
    numbers = dict(part.partition("=")[::2] for part in text.lower().split(","))
    try:
        items, size = (float(numbers[name]) for name in CALIBRATE)
    except (KeyError, ValueError) as error:
        raise SettingsError(
            f'--calibrate "{printable(text)}" is not ITEMS=number,BYTES=number'
        ) from error
    if items <= 0 or size <= 0 or not yours.items:
        raise SettingsError(
            "--calibrate needs items and bytes above 0, and a metrics.json that selects something"
        )
    estimated = yours.billed_bytes / yours.items / settings.billed_factor
    factor = size / items / estimated
    print(f"Azure billed {size / items:.0f} bytes an item, the estimate says {estimated:.0f}. Set")
    print(f"\n  RECEIVER_BILLED_FACTOR={factor:.3f}\n")
    print("and every estimate follows your resource's own bill.")
    return 0


def _rows(yours: Forecast, others: dict[str, Forecast]) -> list[tuple[str, str, float, float]]:
    rows = [(each.entry, str(each.series), each.items, each.billed_bytes) for each in yours.lines]
    rows.append(
        ("in all", str(sum(each.series for each in yours.lines)), yours.items, yours.billed_bytes)
    )
    rows += [(name, "", other.items, other.billed_bytes) for name, other in others.items()]
    return rows


def _print(yours: Forecast, others: dict[str, Forecast], price: float) -> None:
    rows = _rows(yours, others)
    width = max(len(name) for name, *_ in rows)
    print(f"{'entry':<{width}}  series  items/month  GB billed/month{'   money' if price else ''}")
    for name, series, items, size in rows:
        money = f"  {size / 1e9 * price:>6.2f}" if price else ""
        print(
            f"{printable(name):<{width}}  {series:>6}  {items:>11,.0f}  {size / 1e9:>15.3f}{money}"
        )
    print(
        "An estimate, on the dear side: what is not 0 is taken to move all the time. Your resource knows:\n"
        "the last query of `appinsights-receiver azure queries`, then `cost --calibrate`.",
        file=sys.stderr,
    )


def _document(yours: Forecast, others: dict[str, Forecast], price: float) -> dict[str, Any]:
    def spell(found: Forecast) -> dict[str, Any]:
        return {
            "items": round(found.items),
            "billed_gb": found.billed_bytes / 1e9,
            "money": found.billed_bytes / 1e9 * price if price else None,
        }

    entries = [
        {"entry": each.entry, "series": each.series, **spell(Forecast([each]))}
        for each in yours.lines
    ]
    return {
        "entries": entries,
        "total": spell(yours),
        **{name: spell(each) for name, each in others.items()},
    }
