"""`check`: everything that can be said of the settings without a network."""

import argparse
import json
from dataclasses import dataclass, field
from typing import Any

from receiver.azure import credentials as entra
from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus_config import check_prometheus
from receiver.cli.run import NO_DESTINATION
from receiver.config.file_modes import file_warnings
from receiver.config.settings import Origin, Settings, find_connection, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist
from receiver.intake.recogniser import IS_COMPILED, WITHOUT_KERNEL
from receiver.server.auth import exposure, read_rules

EXITS = "Exit codes: 0 all can be used (warnings included), 2 something cannot."


@dataclass(slots=True)
class Checked:
    """What was found; text in the order in which it is told."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    delivers_to: str = ""
    prometheus: list[Finding] = field(default_factory=list)


def run(given: argparse.Namespace, settings: Settings, origins: list[Origin]) -> int:
    """Check everything, and tell all of it."""
    found = Checked()
    if not IS_COMPILED:
        found.warnings.append(WITHOUT_KERNEL)
    allowlist = _check_metrics_json(settings, found)
    _check_connection(settings, found)
    _check_access(settings, origins, found)
    if given.prometheus:
        found.prometheus = check_prometheus(given.prometheus, settings.listen, allowlist)
    if given.json:
        print(json.dumps(_document(found, origins), indent=2))
    else:
        _print(found, origins)
    failed = any(each.mark is Mark.FAIL for each in found.prometheus)
    return 2 if found.errors or failed else 0


def _check_metrics_json(settings: Settings, found: Checked) -> Allowlist | None:
    try:
        allowlist = load_allowlist(settings)
    except SettingsError as error:
        found.errors.append(str(error))
        return None
    found.names = [entry.name for entry in allowlist.entries]
    found.warnings += (f"metrics.json: {suspicion}" for suspicion in allowlist.suspicions())
    return allowlist


def _check_access(settings: Settings, origins: list[Origin], found: Checked) -> None:
    try:
        rules, _ = read_rules(settings.web_config_file, settings.bearer_token_file)
    except SettingsError as error:
        found.errors.append(str(error))
        return
    if warning := exposure(settings.listen, rules):
        found.warnings.append(warning)
    found.warnings += file_warnings(settings, origins, rules.keys)


def _check_connection(settings: Settings, found: Checked) -> None:
    connection = None
    try:
        connection, warnings = find_connection(settings)
        found.warnings += warnings
        if connection is None:
            found.warnings.append(NO_DESTINATION)
        else:
            found.delivers_to = connection.track_url
    except SettingsError as error:
        found.errors.append(str(error))
    try:
        if (authentication := entra.parse(settings.authentication_string)) and connection:
            entra.credential_maker(authentication, connection)
    except SettingsError as error:
        found.errors.append(str(error))


def _print(found: Checked, origins: list[Origin]) -> None:
    width = max(len(origin.setting.name) for origin in origins)
    for origin in origins:
        print(f"{origin.setting.name:<{width}}  {origin.shown}  [{origin.source}]")
    print()
    if found.names:
        print(f"metrics.json selects: {', '.join(found.names)}")
    if found.delivers_to:
        print(f"delivers to: {found.delivers_to}")
    for each in found.prometheus:
        print(f"{each.mark}: prometheus: {each.what}: {each.detail}")
        if each.fix:
            print(f"  {each.fix}")
    for warning in found.warnings:
        print(f"warning: {warning}")
    for error in found.errors:
        print(f"error: {error}")


def _document(found: Checked, origins: list[Origin]) -> dict[str, Any]:
    return {
        "settings": {
            origin.setting.name: {"value": origin.shown, "source": origin.source}
            for origin in origins
        },
        "metrics": found.names,
        "delivers_to": found.delivers_to,
        "prometheus": [
            {"what": each.what, "mark": each.mark, "detail": each.detail, "fix": each.fix}
            for each in found.prometheus
        ],
        "warnings": found.warnings,
        "errors": found.errors,
    }
