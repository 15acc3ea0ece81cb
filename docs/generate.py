"""Writes the tables of README.md and docs/ from the code that they describe.

`python docs/generate.py` rewrites what stands between `<!-- generated: NAME -->` and
`<!-- end -->`, and receiver/config/folded_metrics.json; with `--check` it changes nothing and exits 1 where something is stale.
"""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path

from receiver import errors
from receiver.azure.envelope import Identity
from receiver.azure.policy import ANY, NOT_SERVICE, RULES, SERVICE, Action, Body, Rule
from receiver.azure.rejections import REJECT_REASONS
from receiver.cli import help_text
from receiver.cli.scene import read_page
from receiver.cli.verbs import PROGRAM, VERBS
from receiver.config.settings import SETTINGS
from receiver.intake.decode import INVALID_REASONS
from receiver.intake.metrics_json import parse
from receiver.intake.pipeline import DROP_REASONS
from receiver.pack.forecast import Seen, forecast, with_rates
from receiver.pack.panels import panels
from receiver.pack.proposals import PROPOSALS, to_text
from receiver.pack.queries import markdown
from receiver.pack.sources import Sources
from receiver.status.metrics import METRICS as SELF_METRICS
from receiver.status.verdicts import MEANINGS, anchor
from receiver.triton import METRICS, series_names

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FOLDED = ROOT / "receiver" / "config" / "folded_metrics.json"
_BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in lines
    )


MAIN_SETTINGS = (
    "connection_string", "authentication_string", "listen", "metrics_json", "cloud_role",
    "cloud_role_instance", "outbox_dir", "outbox_max_bytes", "bearer_token_file", "web_config_file",
)  # fmt: skip
"""The ten that README shows."""


def settings() -> str:
    """List every setting."""
    return _settings_table(setting.name for setting in SETTINGS)


def main_settings() -> str:
    """List the settings that most people need."""
    return _settings_table(MAIN_SETTINGS)


def _settings_table(names: Iterable[str]) -> str:
    by_name = {setting.name: setting for setting in SETTINGS}
    rows = (
        [
            f"`{setting.environment}`",
            f"`{setting.flag}`" if setting.flag else "",
            f"`{setting.default}`" if setting.default else "",
            setting.meaning,
        ]
        for setting in (by_name[name] for name in names)
    )
    return table(("environment", "flag", "default", "meaning"), rows)


def triton_metrics() -> str:
    """List Triton's metrics by category, and the series that Prometheus makes of each."""
    rows = (
        [
            metric.category.value,
            f"`{metric.name}`",
            metric.unit,
            metric.meaning,
            ", ".join(f"`{name}`" for name in series_names(metric) if name != metric.name),
        ]
        for metric in METRICS
    )
    return table(("category", "metric", "unit", "meaning", "further series"), rows)


def self_metrics() -> str:
    """List the receiver's own metrics."""
    rows = (
        [
            f"`{metric.name}`",
            metric.kind,
            f"`{metric.label}`" if metric.label else "",
            metric.meaning,
        ]
        for metric in SELF_METRICS
    )
    return table(("name", "type", "label", "meaning"), rows)


def drop_reasons() -> str:
    """List why the receiver drops a sample."""
    return table(
        ("reason", "meaning"), ([f"`{name}`", text] for name, text in DROP_REASONS.items())
    )


def _statuses(rule: Rule) -> Iterator[str]:
    """Yield the statuses of a row as text: 402, 2xx."""
    for status in rule.statuses:
        if isinstance(status, int):
            yield str(status)
        else:
            yield f"{status.start // 100}xx" if len(status) == 100 else "any other"


def policy() -> str:
    """List the retry policy: each rule with its why."""
    return table(
        ("answer", "its body", "if", "then", "why"),
        (
            [
                ", ".join(_statuses(rule)),
                _bodies(rule.bodies),
                " and ".join(_conditions(rule)),
                THEN[rule.action],
                rule.why,
            ]
            for rule in RULES
        ),
    )


THEN = {
    Action.SETTLE: "the result of every item is recorded",
    Action.UNCONFIRMED: "accepted, and counted as unconfirmed",
    Action.RETRY: "kept, retried: after 1 s, then three times as long, up to 2 min",
    Action.THROTTLE: "kept, throttled: `Retry-After`, or 5 s growing to 2 min",
    Action.QUOTA: "kept, quota: `Retry-After`, or 5 min growing to 30; then the smallest batch is tried",
    Action.BLOCKED: "kept, blocked: 1 s, then 1 min growing to 2",
    Action.SPLIT: "sent again in halves, after the back-off of a transient fault",
}


def _bodies(bodies: frozenset[Body]) -> str:
    if bodies == ANY:
        return "any"
    if bodies == NOT_SERVICE:
        return "not the service's"
    if bodies == SERVICE:
        return "the service's"
    return ", ".join(body.value for body in Body if body in bodies)


def _conditions(rule: Rule) -> Iterator[str]:
    if rule.message:
        yield f"its message has `{rule.message}`"
    if rule.signed_in is not None:
        yield "a token was sent" if rule.signed_in else "no token was sent"


def answers() -> str:
    """List answers, and what becomes of the first batch that gets one."""
    sys.path.insert(0, str(ROOT))  # they are the tests' own
    return table(*import_module("tests.golden.answers").table())


def reject_reasons() -> str:
    """List why the service rejects an item."""
    rows = ([f"`{name}`", *texts] for name, texts in REJECT_REASONS.items())
    return table(("reason", "meaning", "what to do"), rows)


def refused_requests() -> str:
    """List how a request as a whole is refused."""
    rows = (
        [f"`{kind.reason}`", str(kind.status), (kind.__doc__ or "").splitlines()[0], kind.hint]
        for kind in _subclasses(errors.RequestRefused)
    )
    return table(("reason", "status", "meaning", "what to do"), rows)


def refused_series() -> str:
    """List why one series is refused."""
    return ", ".join(f"`{reason}`" for reason in INVALID_REASONS) + "\n"


def verdicts() -> str:
    """List the verdicts, the causes first."""
    rows = (
        [f"[{state.value}](#{anchor(state)})", severity.value, meaning]
        for state, (severity, meaning) in MEANINGS.items()
    )
    return table(("verdict", "", "meaning"), rows)


def verbs() -> str:
    """List the verbs of the command line."""
    return table(("verb", "what it does"), ([f"`{verb.name}`", verb.summary] for verb in VERBS))


def command_line() -> str:
    """Print each verb's help."""
    parts = [f"```console\n$ {PROGRAM} --help\n{help_text.overview()}\n```\n"]
    parts += [
        f"## {verb.name}\n\n```console\n$ {PROGRAM} {verb.name} --help\n{help_text.of_verb(verb, all_settings=False)}\n```\n"
        for verb in VERBS
    ]
    return "\n".join(parts)


def queries_of(name: str) -> Callable[[], str]:
    """Write the queries for a metrics.json of the package."""

    def write() -> str:
        text = (ROOT / "receiver" / "config" / name).read_bytes()
        sources = Sources(parse(text, name))
        item = next((mean.item for mean in sources.means), "")
        return markdown(panels(sources), item)

    return write


def monthly_cost() -> str:
    """Forecast a month of ten models on one GPU, for three files of metrics.json."""
    page = (ROOT / "tests" / "data" / "triton-metrics" / "one-model-one-gpu.txt").read_text("utf-8")
    one = read_page(page, "one model")
    series = [
        Seen({**example.labels, "model": f"model_{number}"}, example.value)
        for example in one
        for number in range(10)
        if "model" in example.labels
    ]
    series += [example for example in one if "model" not in example.labels]
    identity = Identity("0" * 36, "triton")
    folder = ROOT / "receiver" / "config"
    files = {
        "the default, three raw names": (folder / "default_metrics.json").read_text("utf-8"),
        'raw: `"nv_*"`': '{"customMetrics": ["nv_*"]}',
        "`_irate` and gauges": '{"customMetrics": ["nv_*_irate", "nv_gpu_*", "nv_cpu_*", "nv_inference_pending_request_count"]}',
        "folded: `folded_metrics.json`": (folder / "folded_metrics.json").read_text("utf-8"),
    }
    rows = []
    for name, text in files.items():
        seen = with_rates(series) if "_irate" in text else series
        found = forecast(parse(text, name), seen, identity, 15.0)
        share = found.billed_bytes / max(1.0, found.items)
        money = found.billed_bytes / 1e9 * 2.30
        rows.append(
            [
                name,
                f"{found.items:,.0f}",
                f"{share:.0f}",
                f"{found.billed_bytes / 1e9:.2f}",
                f"{money:.2f}",
            ]
        )
    return table(
        ("metrics.json", "items a month", "billed bytes an item", "GB a month", "at 2.30 a GB"),
        rows,
    )


def _subclasses(kind: type[errors.RequestRefused]) -> Iterator[type[errors.RequestRefused]]:
    for refusal in kind.__subclasses__():
        yield refusal
        yield from _subclasses(refusal)


TABLES: dict[str, Callable[[], str]] = {
    "main-settings": main_settings,
    "settings": settings,
    "triton-metrics": triton_metrics,
    "self-metrics": self_metrics,
    "drop-reasons": drop_reasons,
    "policy": policy,
    "answers": answers,
    "reject-reasons": reject_reasons,
    "refused-requests": refused_requests,
    "refused-series": refused_series,
    "verdicts": verdicts,
    "verbs": verbs,
    "command-line": command_line,
    "queries-default": queries_of("default_metrics.json"),
    "queries-folded": queries_of("folded_metrics.json"),
    "monthly-cost": monthly_cost,
}


def usual_entries() -> str:
    """Return the packaged file of folded metrics."""
    return to_text([proposal.entry for proposal in PROPOSALS if proposal.usual])


def renew(text: str) -> str:
    """Return a page with its generated parts made anew."""
    return _BLOCK.sub(lambda found: found[1] + "\n" + TABLES[found[2]]() + "\n" + found[3], text)


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with --check only compare."""
    stale = []
    for page, made in ((FOLDED, lambda _: usual_entries()), *((page, renew) for page in PAGES)):
        text = page.read_text(encoding="utf-8")
        if (new := made(text)) != text:
            stale.append(page.relative_to(ROOT))
            if "--check" not in arguments:
                page.write_text(new, encoding="utf-8")
    if stale and "--check" in arguments:
        print("stale, run `make docs`:", *stale)  # noqa: T201 - a command's output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
