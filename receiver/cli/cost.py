"""`cost`: what a metrics.json will cost, before anything is sent; and how right that is."""

import argparse
import json
import sys
from typing import Any

from receiver.cli.what_if import SCRAPE_SECONDS, count, others, read_series
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.errors import SettingsError
from receiver.pack.forecast import Forecast
from receiver.text import printable

CALIBRATE = ("items", "bytes")


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Ask, count, and print. Raises: SettingsError, NoAnswer."""
    seconds = given.scrape_seconds or SCRAPE_SECONDS
    series = read_series(given.source)
    yours = count(load_allowlist(settings), series, settings, seconds)
    if given.calibrate:
        return _calibrate(given.calibrate, yours, settings)
    rest = others(series, settings, seconds)
    if given.json:
        print(json.dumps(_document(yours, rest, settings.price_per_gb), indent=2))
    else:
        _print(yours, rest, settings.price_per_gb)
    return 0


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


def _rows(yours: Forecast, rest: dict[str, Forecast]) -> list[tuple[str, str, float, float]]:
    rows = [(each.entry, str(each.series), each.items, each.billed_bytes) for each in yours.lines]
    rows.append(
        ("in all", str(sum(each.series for each in yours.lines)), yours.items, yours.billed_bytes)
    )
    rows += [(name, "", other.items, other.billed_bytes) for name, other in rest.items()]
    return rows


def _print(yours: Forecast, rest: dict[str, Forecast], price: float) -> None:
    rows = _rows(yours, rest)
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


def _document(yours: Forecast, rest: dict[str, Forecast], price: float) -> dict[str, Any]:
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
        **{name: spell(each) for name, each in rest.items()},
    }
