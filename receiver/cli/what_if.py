"""What a metrics.json would cost on the series that are there: asked of a page or of Prometheus.

In: an address, a file or a Prometheus, and settings. Out: the series with their labels and
values, and forecasts: of the file in use, of the folded example, of all of Triton's raw.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from prometheus_client.parser import text_string_to_metric_families

from receiver.azure.envelope import Identity
from receiver.cli.fetch import NoAnswer, get_text
from receiver.cli.prometheus.addresses import masked
from receiver.cli.upstream import ask_vector
from receiver.config.settings import Settings
from receiver.intake.metrics_json import Allowlist, parse
from receiver.pack.forecast import Forecast, Seen, forecast, with_rates

KEY = "00000000-0000-0000-0000-000000000000"
"""As long as any."""
RAW = '{"customMetrics": ["nv_*"]}'
SCRAPE_SECONDS = 15.0
TARGET = {"job": "triton", "instance": "triton:8002"}


def read_series(source: str) -> list[Seen]:
    """Read Triton's series from its metrics, a file with such a page, or a Prometheus. Raises: NoAnswer."""
    if source.startswith(("http://", "https://")) and not source.rstrip("/").endswith("/metrics"):
        rows = ask_vector(source.rstrip("/"), quote('{__name__=~"nv_.+"}'))
        values = [Seen(row["metric"], float(row["value"][1])) for row in rows]
        return _triton_only([each for each in values if each.value == each.value], source)
    if source.startswith(("http://", "https://")):
        return with_rates(read_page(get_text(source), source))
    try:
        return with_rates(read_page(Path(source).read_text(encoding="utf-8"), source))
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{masked(source)} cannot be read: {error}") from error


def read_page(text: str, source: str) -> list[Seen]:
    """Read a page of Prometheus' exposition format, with a target's labels. Raises: NoAnswer.

    Types are left out: they would have the parser rename counters.
    """
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    try:
        series = [
            Seen({"__name__": sample.name, **sample.labels, **TARGET}, sample.value)
            for family in text_string_to_metric_families(f"{lines}\n")
            for sample in family.samples
            if sample.value == sample.value
        ]
    except ValueError as error:
        raise NoAnswer(f"{masked(source)} is no page of metrics: {error}") from error
    return _triton_only(series, source)


def folded_example() -> Allowlist:
    """Read the metrics.json that the package proposes."""
    text = resources.files("receiver.config").joinpath("folded_metrics.json").read_bytes()
    return parse(text, "folded_metrics.json")


def count(
    allowlist: Allowlist, series: Sequence[Seen], settings: Settings, scrape_seconds: float
) -> Forecast:
    """Forecast one metrics.json."""
    identity = Identity(
        KEY, settings.host, settings.cloud_role, settings.cloud_role_instance, settings.slim_items
    )
    return forecast(allowlist, series, identity, scrape_seconds, settings.billed_factor)


def others(
    series: Sequence[Seen], settings: Settings, scrape_seconds: float
) -> dict[str, Forecast]:
    """Forecast what one compares with."""
    plain = [each for each in series if not each.name.endswith("_irate")]
    return {
        "folded example": count(folded_example(), series, settings, scrape_seconds),
        "all of Triton's, raw": count(parse(RAW, "raw"), plain, settings, scrape_seconds),
    }


def in_words(found: Forecast, price: float) -> str:
    """Say what a month brings."""
    gigabytes = found.billed_bytes / 1e9
    money = f", {gigabytes * price:.2f}" if price else ""
    return f"{found.items:,.0f} items, {gigabytes:.3f} GB{money} a month"


def compared(yours: Forecast, rest: dict[str, Forecast], price: float) -> str:
    """Say what a file costs beside the others, in one sentence."""
    beside = "; ".join(f"{name}: {in_words(each, price)}" for name, each in rest.items())
    return f"about {in_words(yours, price)} ({beside})"


def _triton_only(series: Sequence[Seen], source: str) -> list[Seen]:
    if not any(each.name.startswith("nv_") for each in series):
        raise NoAnswer(
            f"{masked(source)} shows nothing of Triton's: is it the page of metrics, or a Prometheus?"
        )
    return list(series)
