"""The forecast of a metrics.json's cost, by route, beside other forms and other files.

In: the series of a `Scene`, routes.json and settings. Out: forecasts: of the file in use and of
each route, of the same metrics folded and raw, of the folded example, of all of Triton's raw.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from receiver.azure.envelope import Identity
from receiver.cli.scene import Scene
from receiver.config.settings import Settings
from receiver.intake.metrics_json import Allowlist, parse
from receiver.intake.routes import NO_KEY, NO_ROUTES, Routing, shown
from receiver.pack.forecast import Comparison, Forecast, compare, forecast, forecast_by, together
from receiver.rows import NO_LANE
from receiver.text import printable

RAW = '{"customMetrics": ["nv_*"]}'


def folded_example() -> Allowlist:
    """Read the packaged example of folding."""
    text = resources.files("receiver.config").joinpath("folded_metrics.json").read_bytes()
    return parse(text, "folded_metrics.json")


def identity_of(settings: Settings) -> Identity:
    """Return the identity of the items."""
    return Identity(
        NO_KEY,
        settings.host,
        settings.cloud_role,
        settings.cloud_role_instance,
        settings.slim_items,
    )


def count(
    allowlist: Allowlist, scene: Scene, settings: Settings, routing: Routing = NO_ROUTES
) -> Forecast:
    """Forecast one metrics.json. Series of different routes are never joined."""
    if routing.routes:
        return together(list(count_routes(routing, allowlist, scene, settings).values()))
    return forecast(allowlist, scene.series, identity_of(settings), factor=settings.billed_factor)


@dataclass(frozen=True, slots=True)
class Costs:
    """The forecast of one metrics.json: of each route, if there are any, and of its other forms.

    `scene` is without the series that routes.json drops; `dropped` counts the selected ones of them.
    """

    yours: Forecast
    forms: Mapping[str, Forecast]
    routes: Mapping[str, Forecast]
    scene: Scene
    dropped: int


def count_costs(routing: Routing, allowlist: Allowlist, scene: Scene, settings: Settings) -> Costs:
    """Forecast one metrics.json, its routes, and its metrics folded and raw."""
    sent = routed(routing, scene)
    counted = compare(allowlist, sent.series, identity_of(settings), factor=settings.billed_factor)
    yours, routes = counted.yours, {}
    if routing.routes:
        routes = count_routes(routing, allowlist, sent, settings)
        yours = together(list(routes.values()))
    dropped = _selected(allowlist, scene) - _selected(allowlist, sent)
    return Costs(yours, _forms(counted), routes, sent, dropped)


def _selected(allowlist: Allowlist, scene: Scene) -> int:
    return sum(bool(allowlist.matches(row.name)) for row in scene.series)


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


def others(scene: Scene, settings: Settings, routing: Routing) -> dict[str, Forecast]:
    """Forecast two other files, for comparison."""
    plain = Scene([row for row in scene.series if not row.name.endswith("_irate")], scene.intervals)  # fmt: skip
    return {
        "folded example": count(folded_example(), scene, settings, routing),
        "all of Triton's, raw": count(parse(RAW, "raw"), plain, settings, routing),
    }


def _forms(counted: Comparison) -> Mapping[str, Forecast]:
    """Return the other forms of a selection by name, without the selection itself."""
    named = {"the same, folded": counted.folded, "the same, raw": counted.raw}
    return {name: form for name, form in named.items() if form.lines != counted.yours.lines}


def in_words(total: Forecast, price: float) -> str:
    """Describe a month's items, gigabytes and money."""
    gigabytes = total.billed_bytes / 1e9
    money = f", {gigabytes * price:.2f}" if price else ""
    return f"{total.items:,.0f} items, {gigabytes:.3f} GB{money} a month"


def sentences(costs: Costs, settings: Settings) -> Iterator[str]:
    """Describe a file's cost, the cost of its other forms and the basis; then each route."""
    scene, price = costs.scene, settings.price_per_gb
    beside = "; ".join(f"{name}: {in_words(form, price)}" for name, form in costs.forms.items())
    others = f" ({beside})" if beside else ""
    yield f"about {in_words(costs.yours, price)}{others}; {len(scene.series)} series, scraped {scene.intervals.words}"
    for name, route in costs.routes.items():
        yield f"route {name}: {route.series} series, {in_words(route, price)}"
    if costs.dropped:
        yield f"{costs.dropped} selected series take no route of {printable(settings.routes)}, and are dropped"  # fmt: skip
