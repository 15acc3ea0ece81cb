"""Says whether a Prometheus configuration writes to us and makes the _irate series asked for.

In: the path of a prometheus.yml. Out: findings. Reads that file and its rule files, and
nothing else. Rules: Prometheus' configuration reference, remote_write and relabel_config.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from receiver.cli.findings import Finding, Mark
from receiver.config.settings import Address
from receiver.intake.metrics_json import Allowlist

WRITE_PATH = "/api/v1/write"
DEFAULT_SECONDS = 60.0
"""Prometheus' own default of scrape_interval and evaluation_interval."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RULES_HINT = (
    "Copy prometheus/rules/triton_irate.yml beside prometheus.yml and name it under rule_files."
)


def check_prometheus(path: str, listen: Address, allowlist: Allowlist | None) -> list[Finding]:
    """Look at a configuration and its rules; what cannot be read is a finding too."""
    config, problem = _load(Path(path))
    if problem := problem or _misshapen(config, path):
        return [Finding("file", Mark.FAIL, problem, "promtool check config says more.")]
    names = [] if allowlist is None else [each.name for each in allowlist.entries]
    findings = list(_check_remote_write(config, listen, names))
    findings += _check_scrape(config)
    findings += _check_rules(config, Path(path), names)
    return findings


def _load(path: Path) -> tuple[dict[str, Any], str]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"{path}: {error.strerror}"
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # not UTF-8 is a ValueError
        return {}, f"{path}: not YAML: {' '.join(str(error).split())}"
    if not isinstance(document, dict):
        return {}, f"{path}: holds no configuration"
    return document, ""


def _misshapen(config: Mapping[str, Any], path: str) -> str:
    """Say which part that is looked at here is not of the shape that it should be."""
    if not isinstance(config.get("global") or {}, dict):
        return f"{path}: global is no mapping"
    if not _is_list(config.get("rule_files"), str):
        return f"{path}: rule_files is no list of paths"
    for name in ("remote_write", "scrape_configs"):
        if not _is_list(config.get(name), dict):
            return f"{path}: {name} is no list of mappings"
    for entry in config.get("remote_write") or []:
        rules = entry.get("write_relabel_configs")
        if not _is_list(rules, dict) or not all(_is_list(each.get("source_labels"), str) for each in rules or []):  # fmt: skip
            return f"{path}: write_relabel_configs is no list of relabelling rules"
    return ""


def _is_list(value: object, kind: type) -> bool:
    """Whether a value is a list of these, or not there."""
    return value is None or (isinstance(value, list) and all(isinstance(each, kind) for each in value))  # fmt: skip


def _check_remote_write(config: Mapping[str, Any], listen: Address, names: Sequence[str]) -> Iterator[Finding]:  # fmt: skip
    entries = config.get("remote_write") or []
    urls = [str(each.get("url", "")) for each in entries]
    ours = [each for each in entries if is_ours(str(each.get("url", "")), listen.port)]
    wanted = f"http://localhost:{listen.port}{WRITE_PATH}"
    if not ours:
        said = f"only to {', '.join(urls)}" if urls else "nowhere: there is no remote_write"
        fix = f"Add under remote_write: - url: {wanted} (or this host's name, and https where TLS is on)."
        yield Finding("remote_write", Mark.FAIL, f"it writes {said}", fix)
        return
    yield Finding("remote_write", Mark.OK, f"it writes to {ours[0]['url']}")
    kept_away = [name for name in names if "*" not in name and "?" not in name and not _is_kept(name, ours[0])]  # fmt: skip
    if kept_away:
        detail = f"write_relabel_configs keep {', '.join(kept_away)} from being written"
        yield Finding("relabel", Mark.FAIL, detail, "appinsights-receiver relabel prints ones that fit metrics.json.")  # fmt: skip


def is_ours(url: str, listen_port: int) -> bool:
    """Say whether a remote_write's address may be a receiver at that port."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return False
    return parts.path.rstrip("/").endswith(WRITE_PATH) and port == listen_port


def _is_kept(name: str, entry: Mapping[str, Any]) -> bool:
    """Follow the keep and drop rules that look at the name alone, as Prometheus does."""
    for rule in entry.get("write_relabel_configs") or []:
        action = str(rule.get("action", "replace")).lower()
        if list(rule.get("source_labels") or []) != ["__name__"] or action not in {"keep", "drop"}:
            continue
        try:
            fits = re.fullmatch(str(rule.get("regex", "(.*)")), name) is not None
        except re.error:  # RE2 knows what we do not
            continue
        if fits is (action == "drop"):
            return False
    return True


def _check_scrape(config: Mapping[str, Any]) -> Iterator[Finding]:
    jobs = config.get("scrape_configs") or []
    if not jobs:
        fix = "Add a job whose target is Triton's metrics port: localhost:8002."
        yield Finding("scrape", Mark.WARN, "it scrapes nothing", fix)
        return
    named = [str(each.get("job_name", "?")) for each in jobs]
    yield Finding("scrape", Mark.OK, f"jobs: {', '.join(named)}")


def _check_rules(config: Mapping[str, Any], path: Path, names: Sequence[str]) -> Iterator[Finding]:
    patterns = config.get("rule_files") or []
    files = sorted({file for each in patterns for file in glob(str(path.parent / each))})  # noqa: PTH207 - a pattern may be absolute
    recorded: dict[str, str] = {}
    for file in files:
        rules, problem = _load(Path(file))
        groups = rules.get("groups")
        if not problem and not (_is_list(groups, dict) and all(_is_list(each.get("rules"), dict) for each in groups or [])):  # fmt: skip
            problem = f"{file}: groups is no list of groups of rules"
        if problem:
            yield Finding("rules", Mark.FAIL, problem, "promtool check rules says more.")
        else:
            recorded |= dict(_records(rules))
    empty = [each for each in patterns if not glob(str(path.parent / each))]  # noqa: PTH207
    if empty:
        detail = f"no file fits {', '.join(empty)}"
        yield Finding("rules", Mark.WARN, detail, "Paths are relative to prometheus.yml.")
    irates = [name for name in names if name.endswith("_irate") and "*" not in name]
    missing = [name for name in irates if name not in recorded]
    if missing:
        yield Finding("rules", Mark.FAIL, f"no rule makes {', '.join(missing)}", _RULES_HINT)
    elif irates:
        yield Finding("rules", Mark.OK, f"rules make all {len(irates)} _irate names asked for")
    yield from _check_windows(config, {name: recorded[name] for name in irates if name in recorded})


def _records(rules: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for group in rules.get("groups") or []:
        for rule in group.get("rules") or []:
            if "record" in rule:
                yield str(rule["record"]), str(rule.get("expr", ""))


def _check_windows(config: Mapping[str, Any], recorded: Mapping[str, str]) -> Iterator[Finding]:
    """An irate needs two scrapes in its window: a narrow one never gives a value."""
    globals_ = config.get("global") or {}
    slowest = max(
        (
            _seconds(str(job.get("scrape_interval") or globals_.get("scrape_interval") or "1m"))
            for job in config.get("scrape_configs") or []
        ),
        default=DEFAULT_SECONDS,
    )
    narrow = {
        name: window
        for name, expression in recorded.items()
        for window in re.findall(r"\[(\w+)\]", expression)
        if _seconds(window) < 2 * slowest
    }
    if narrow:
        name, window = next(iter(narrow.items()))
        detail = f"{name} looks back {window}, and a scrape comes each {slowest:g} s: two must fit, or it has no value"
        fix = f"Scrape at least twice as often as the window, or widen it: [{round(4 * slowest)}s]."
        yield Finding("window", Mark.FAIL, detail, fix)


def _seconds(text: str) -> float:
    parts = re.findall(r"(\d+)(ms|s|m|h|d)", text)
    return sum(int(number) * _UNITS[unit] for number, unit in parts) or DEFAULT_SECONDS
