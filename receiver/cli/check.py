"""`check`: everything that can be said of the settings without a network, as `run` sees it."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from receiver.cli.fetch import NoAnswer, is_address
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.preflight import Preflight, preflight
from receiver.cli.prometheus.check import check_prometheus
from receiver.cli.what_if import compared, count_forms, read_scene
from receiver.config.settings import Origin, Settings
from receiver.intake.metrics_json import Allowlist
from receiver.pack.store_limits import store_limits


def run(given: argparse.Namespace, settings: Settings, origins: list[Origin]) -> int:
    """Check everything, and say all of it; the exit code is that with which `run` would end."""
    found = preflight(settings, origins, sandbox=given.sandbox)
    prometheus: list[Finding] = []
    if given.prometheus:
        entries = found.allowlist.entries if found.allowlist else ()
        prometheus = check_prometheus(
            given.prometheus, settings.listen.port, entries, given.promtool
        )
        if any(each.mark is Mark.FAIL for each in prometheus):
            found.exit_code = 2
    source = given.cost_of or (given.prometheus if is_address(given.prometheus or "") else "")
    if source and found.allowlist:
        _cost(source, given.prometheus or "", found.allowlist, settings, found)
    if given.json:
        print(json.dumps(_document(found, prometheus, origins), indent=2))
        return found.exit_code
    named = [Finding(f"prometheus: {each.what}", each.mark, each.detail, each.fix) for each in prometheus]  # fmt: skip
    show([*_settings(origins, verbose=given.verbose), *found.findings, *named], as_json=False, well="all can be used.")  # fmt: skip
    return found.exit_code


def _cost(
    source: str, prometheus: str, allowlist: Allowlist, settings: Settings, found: Preflight
) -> None:
    """Forecast a month; a source that cannot be asked is a warning, since nothing depends on it."""
    try:
        scene = read_scene(source, prometheus=prometheus)
    except NoAnswer as error:
        found.findings.append(Finding("cost", Mark.WARN, str(error)))
        return
    counted = count_forms(allowlist, scene, settings)
    detail = compared(counted, scene, settings.price_per_gb)
    found.findings.append(Finding("cost", Mark.OK, detail))
    for limit in store_limits(allowlist, scene.series):
        found.warn("metrics store", limit, 'Keep the labels that are asked for: "keep" (docs/folding.md).')  # fmt: skip


def spelt(origin: Origin) -> str:
    """Name a setting as it is typed: its flag, or its variable where it has none."""
    return origin.setting.flag or origin.setting.environment


def _settings(origins: Sequence[Origin], *, verbose: bool) -> list[Finding]:
    changed = [origin for origin in origins if origin.source != "default"]
    if verbose:
        width = max(len(spelt(origin)) for origin in origins)
        return [
            Finding("", Mark.OK, f"{spelt(origin):<{width}}  {origin.shown}  [{origin.source}]")
            for origin in origins
        ]
    shown = ", ".join(f"{spelt(each)} {each.shown}" for each in changed) or "none set"
    return [Finding("settings", Mark.OK, f"{shown}; --verbose shows all {len(origins)}")]


def _document(
    found: Preflight, prometheus: Sequence[Finding], origins: Sequence[Origin]
) -> dict[str, Any]:
    def details(mark: Mark) -> list[str]:
        return [each.detail for each in found.findings if each.mark is mark]

    return {
        "ok": found.exit_code == 0,
        "settings": {
            origin.setting.name: {
                "value": origin.shown,
                "source": origin.source,
                "flag": origin.setting.flag,
                "environment": origin.setting.environment,
            }
            for origin in origins
        },
        "metrics": [entry.name for entry in found.allowlist.entries] if found.allowlist else [],
        "entries": [
            {"name": entry.name, "as": entry.as_.value, "does": entry.sentence()}
            for entry in (found.allowlist.entries if found.allowlist else ())
        ],
        "delivers_to": found.connection.track_url if found.connection else "",
        "findings": [asdict(each) for each in found.findings],
        "prometheus": [asdict(each) for each in prometheus],
        "warnings": details(Mark.WARN),
        "errors": details(Mark.FAIL),
    }
