"""`check`: the checks that `run` makes before it starts, without a network."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from receiver.cli.fetch import NoAnswer, is_address
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.preflight import Preflight, preflight
from receiver.cli.prometheus.check import check_prometheus
from receiver.cli.scene import read_scene
from receiver.cli.what_if import count_costs, sentences
from receiver.config.resources import load_routing
from receiver.config.settings import Origin, Settings
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist
from receiver.pack.store_limits import store_limits


def run(given: argparse.Namespace, settings: Settings, origins: list[Origin]) -> int:
    """Run all checks and print the findings; the exit code is the one `run` would return."""
    report = preflight(settings, origins, sandbox=given.sandbox)
    prometheus: list[Finding] = []
    if given.prometheus:
        entries = report.allowlist.entries if report.allowlist else ()
        prometheus = check_prometheus(
            given.prometheus,
            settings.listen.port,
            entries,
            given.promtool,
            settings.replica_label,
        )
        if any(finding.mark is Mark.FAIL for finding in prometheus):
            report.exit_code = 2
    source = given.cost_of or (given.prometheus if is_address(given.prometheus or "") else "")
    if source and report.allowlist:
        _cost(source, given.prometheus or "", report.allowlist, settings, report)
    if given.json:
        print(json.dumps(_document(report, prometheus, origins), indent=2))
        return report.exit_code
    named = [Finding(f"prometheus: {finding.what}", finding.mark, finding.detail, finding.fix) for finding in prometheus]  # fmt: skip
    show([*_settings(origins, verbose=given.verbose), *report.findings, *named], as_json=False, all_passed="all can be used.")  # fmt: skip
    return report.exit_code


def _cost(
    source: str, prometheus: str, allowlist: Allowlist, settings: Settings, report: Preflight
) -> None:
    """Forecast a month, by route; an unreachable source is only a warning."""
    try:
        routing = load_routing(settings)
    except SettingsError:
        report.findings.append(Finding("cost", Mark.SKIP, "it depends on routes.json"))
        return
    try:
        scene = read_scene(source, prometheus=prometheus, allowlist=allowlist)
    except NoAnswer as error:
        report.findings.append(Finding("cost", Mark.WARN, str(error)))
        return
    costs = count_costs(routing, allowlist, scene, settings)
    for sentence in sentences(costs, settings):
        report.passed("cost", sentence)
    for limit in store_limits(allowlist, costs.scene.series):
        report.warn("metrics store", limit, 'Keep only the labels that you query: "keep" (docs/folding.md).')  # fmt: skip


def typed_name(origin: Origin) -> str:
    """Return the setting's flag, or its variable where it has no flag."""
    return origin.setting.flag or origin.setting.environment


def _settings(origins: Sequence[Origin], *, verbose: bool) -> list[Finding]:
    changed = [origin for origin in origins if origin.source != "default"]
    if verbose:
        width = max(len(typed_name(origin)) for origin in origins)
        return [
            Finding(
                "", Mark.OK, f"{typed_name(origin):<{width}}  {origin.shown}  [{origin.source}]"
            )
            for origin in origins
        ]
    shown = ", ".join(f"{typed_name(origin)} {origin.shown}" for origin in changed) or "none set"
    return [Finding("settings", Mark.OK, f"{shown}; --verbose shows all {len(origins)}")]


def _document(
    report: Preflight, prometheus: Sequence[Finding], origins: Sequence[Origin]
) -> dict[str, Any]:
    def details(mark: Mark) -> list[str]:
        return [finding.detail for finding in report.findings if finding.mark is mark]

    return {
        "ok": report.exit_code == 0,
        "settings": {
            origin.setting.name: {
                "value": origin.shown,
                "source": origin.source,
                "flag": origin.setting.flag,
                "environment": origin.setting.environment,
            }
            for origin in origins
        },
        "metrics": [entry.name for entry in report.allowlist.entries] if report.allowlist else [],
        "entries": [
            {"name": entry.name, "as": entry.as_.value, "does": entry.sentence()}
            for entry in (report.allowlist.entries if report.allowlist else ())
        ],
        "delivers_to": report.connection.track_url if report.connection else "",
        "findings": [asdict(finding) for finding in report.findings],
        "prometheus": [asdict(finding) for finding in prometheus],
        "warnings": details(Mark.WARN),
        "errors": details(Mark.FAIL),
    }
