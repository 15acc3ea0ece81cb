"""A prometheus.yml as far as the receiver depends on it: remote_write, jobs, recording rules.

In: its path. Out: a `PrometheusConfig`, with the files that it names read too
(scrape_config_files, rule_files). Reads files and nothing else.
Rules: Prometheus' configuration reference.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from receiver.cli.prometheus.promql import Look, looks, seconds
from receiver.cli.prometheus.yaml_file import Unreadable, read_mapping

DEFAULT_SECONDS = 60.0
"""Prometheus' own default of scrape_interval and evaluation_interval."""
TRITON_PORT = ":8002"


@dataclass(frozen=True, slots=True)
class Job:
    """One job, and how often it scrapes; `is_triton` where its name or a target says so."""

    name: str
    seconds: float
    is_triton: bool


@dataclass(slots=True)
class PrometheusConfig:
    """What was read. `recorded` maps a rule's name to what its expressions look back at."""

    remote_write: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    recorded: dict[str, list[Look]] = field(default_factory=dict)
    evaluation_seconds: dict[str, float] = field(default_factory=dict)
    has_rule_files: bool = False
    empty_patterns: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_config(path: Path) -> PrometheusConfig:
    """Read a configuration. Raises: Unreadable; a file that it names is a problem instead."""
    document = read_mapping(path)
    found = from_document(document, str(path))
    defaults = document.get("global") or {}
    for file in _files(found, path, document.get("scrape_config_files")):
        with_jobs = _read_part(found, file)
        if not _is_list(with_jobs.get("scrape_configs"), dict):
            found.problems.append(f"{file}: scrape_configs is no list of mappings")
        else:
            _add_jobs(found, with_jobs, defaults)
    every = _interval(defaults.get("evaluation_interval"), DEFAULT_SECONDS)
    for file in _files(found, path, document.get("rule_files")):
        _add_rules(found, file, every)
    return found


def from_document(document: Mapping[str, Any], source: str) -> PrometheusConfig:
    """Take what stands in a configuration itself. Raises: Unreadable."""
    if problem := _misshapen(document):
        raise Unreadable(f"{source}: {problem}")
    found = PrometheusConfig(document.get("remote_write") or [])
    _add_jobs(found, document, document.get("global") or {})
    found.has_rule_files = "rule_files" in document
    return found


def _read_part(found: PrometheusConfig, file: Path) -> dict[str, Any]:
    try:
        return read_mapping(file)
    except Unreadable as error:
        found.problems.append(str(error))
        return {}


def _files(found: PrometheusConfig, path: Path, patterns: list[str] | None) -> Iterator[Path]:
    """List the files that patterns name, relative to the configuration."""
    seen: set[str] = set()
    for pattern in patterns or []:
        files = sorted(glob(str(path.parent / pattern)))  # noqa: PTH207 - a pattern may be absolute
        if not files:
            found.empty_patterns.append(pattern)
        yield from (Path(file) for file in files if file not in seen)
        seen.update(files)


def _add_jobs(found: PrometheusConfig, document: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:  # fmt: skip
    for job in document.get("scrape_configs") or []:
        every = _interval(job.get("scrape_interval"), _interval(defaults.get("scrape_interval"), DEFAULT_SECONDS))  # fmt: skip
        name = str(job.get("job_name", "?"))
        targets = [
            str(target)
            for group in _mappings(job.get("static_configs"))
            for target in group.get("targets") or []
        ]
        is_triton = "triton" in name.lower() or any(each.endswith(TRITON_PORT) for each in targets)
        found.jobs.append(Job(name, every, is_triton))


def _add_rules(found: PrometheusConfig, file: Path, every: float) -> None:
    groups = _read_part(found, file).get("groups")
    if not _is_list(groups, dict) or not all(_is_list(each.get("rules"), dict) for each in groups or []):  # fmt: skip
        found.problems.append(f"{file}: groups is no list of groups of rules")
        return
    for group in groups or []:
        for rule in group.get("rules") or []:
            if "record" in rule:
                name = str(rule["record"])
                found.recorded.setdefault(name, []).extend(looks(str(rule.get("expr", ""))))
                found.evaluation_seconds[name] = _interval(group.get("interval"), every)


def _interval(value: object, default: float) -> float:
    return seconds(str(value or "")) or default


def _mappings(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _misshapen(config: Mapping[str, Any]) -> str:
    """Say which part that is looked at here is not of the shape that it should be."""
    if not isinstance(config.get("global") or {}, dict):
        return "global is no mapping"
    for name in ("rule_files", "scrape_config_files"):
        if not _is_list(config.get(name), str):
            return f"{name} is no list of paths"
    for name in ("remote_write", "scrape_configs"):
        if not _is_list(config.get(name), dict):
            return f"{name} is no list of mappings"
    for entry in config.get("remote_write") or []:
        rules = entry.get("write_relabel_configs")
        if not _is_list(rules, dict) or not all(_is_list(each.get("source_labels"), str) for each in rules or []):  # fmt: skip
            return "write_relabel_configs is no list of relabelling rules"
    return ""


def _is_list(value: object, kind: type) -> bool:
    """Whether a value is a list of these, or not there."""
    return value is None or (isinstance(value, list) and all(isinstance(each, kind) for each in value))  # fmt: skip
