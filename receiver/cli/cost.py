"""`cost`: the estimated cost of a metrics.json, and the calibration of that estimate."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from receiver.cli.scene import Scene, read_scene
from receiver.cli.what_if import count_costs, others
from receiver.config.resources import load_routing
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.errors import SettingsError
from receiver.pack.forecast import Forecast
from receiver.pack.store_limits import store_limits
from receiver.text import printable

CALIBRATE = ("items", "bytes")
NAMES_SHOWN = 3


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Read the series, forecast a month, and print it. Raises: SettingsError, NoAnswer."""
    allowlist = load_allowlist(settings)
    routing = load_routing(settings)
    scene = read_scene(given.source, given.scrape_seconds or 0.0, given.prometheus, allowlist)
    costs = count_costs(routing, allowlist, scene, settings)
    yours, routes, scene = costs.yours, costs.routes, costs.scene
    if given.calibrate:
        return _calibrate(given.calibrate, yours, settings)
    beside = {**costs.forms, **others(scene, settings, routing)}
    if given.json:
        document = _document(yours, routes, beside, scene, settings.price_per_gb)
        print(json.dumps(document, indent=2))
    else:
        _print(yours, routes, beside, scene, settings.price_per_gb)
        if costs.dropped:
            print(f"{costs.dropped} selected series take no route of {printable(settings.routes)}, and are dropped.", file=sys.stderr)  # fmt: skip
        for limit in store_limits(allowlist, scene.series):
            print(f"Azure's metrics store: {limit}.", file=sys.stderr)
    return 0


def _calibrate(text: str, yours: Forecast, settings: Settings) -> int:
    """Compare the estimate with the billed size that the resource's own query reports."""
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
    print(f"Azure billed {size / items:.0f} bytes an item; the estimate is {estimated:.0f}. Set")
    print(f"\n  RECEIVER_BILLED_FACTOR={factor:.3f}\n")
    print("and every estimate matches your resource's bill.")
    return 0


def _rows(
    yours: Forecast, routes: Mapping[str, Forecast], beside: Mapping[str, Forecast]
) -> list[tuple[str, str, float, float]]:
    rows = [
        (entry.entry, str(entry.series), entry.items, entry.billed_bytes) for entry in yours.lines
    ]
    rows.append(("in all", str(yours.series), yours.items, yours.billed_bytes))
    rows += [
        (f"route {name}", str(route.series), route.items, route.billed_bytes)
        for name, route in routes.items()
    ]
    rows += [(name, "", other.items, other.billed_bytes) for name, other in beside.items()]
    return rows


def _print(
    yours: Forecast,
    routes: Mapping[str, Forecast],
    beside: Mapping[str, Forecast],
    scene: Scene,
    price: float,
) -> None:
    rows = _rows(yours, routes, beside)
    width = max(len(name) for name, *_ in rows)
    print(f"{'entry':<{width}}  series  items/month  GB billed/month{'   money' if price else ''}")
    for name, series, items, size in rows:
        money = f"  {size / 1e9 * price:>6.2f}" if price else ""
        print(
            f"{printable(name):<{width}}  {series:>6}  {items:>11,.0f}  {size / 1e9:>15.3f}{money}"
        )
    print(
        f"Counted on {len(scene.series)} series, scraped {scene.intervals.words}.", file=sys.stderr
    )
    if absent := [entry.entry for entry in yours.lines if not entry.series]:
        more = f" and {len(absent) - NAMES_SHOWN} more" if len(absent) > NAMES_SHOWN else ""
        print(f"No series there fits {', '.join(map(printable, absent[:NAMES_SHOWN]))}{more}.", file=sys.stderr)  # fmt: skip
    if scene.intervals.by_rule is None and any(s.name.endswith("_irate") for s in scene.series):
        print("Assumed: prometheus/rules/triton_irate.yml is loaded, which records the _irate names.", file=sys.stderr)  # fmt: skip
    if not scene.intervals.is_known:
        print("--scrape-seconds, or --prometheus with a prometheus.yml or an address, gives the real interval.", file=sys.stderr)  # fmt: skip
    print(
        "An upper estimate: every series that is not 0 counts as changing all the time. For the billed size\n"
        "run the last query of `appinsights-receiver azure queries`, then `cost --calibrate`.",
        file=sys.stderr,
    )


def _document(
    yours: Forecast,
    routes: Mapping[str, Forecast],
    beside: Mapping[str, Forecast],
    scene: Scene,
    price: float,
) -> dict[str, Any]:
    def as_document(counted: Forecast) -> dict[str, Any]:
        return {
            "items": round(counted.items),
            "billed_gb": counted.billed_bytes / 1e9,
            "money": counted.billed_bytes / 1e9 * price if price else None,
        }

    entries = [
        {"entry": entry.entry, "series": entry.series, **as_document(Forecast([entry]))}
        for entry in yours.lines
    ]
    return {
        "series": len(scene.series),
        "scraped": scene.intervals.words,
        "entries": entries,
        "total": {"series": yours.series, **as_document(yours)},
        "routes": [
            {"route": name, "series": route.series, **as_document(route)}
            for name, route in routes.items()
        ],
        **{name: as_document(other) for name, other in beside.items()},
    }
