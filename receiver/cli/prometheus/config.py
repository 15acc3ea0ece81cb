"""The parts of a prometheus.yml that matter here: remote_write, jobs, rules, external labels.

In: its path. Out: a `PrometheusConfig`, including the files that it names
(scrape_config_files, rule_files). Reads only files.
Rules: Prometheus' configuration reference.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

from receiver.cli.prometheus.promql import RangeCall, range_calls, seconds
from receiver.cli.prometheus.yaml_file import Unreadable, read_mapping

DEFAULT_SECONDS = 60.0
"""Prometheus' default of scrape_interval and evaluation_interval."""
TRITON_PORT = ":8002"


@dataclass(frozen=True, slots=True)
class Job:
    """One job and its scrape interval; `is_triton` judged by its name or a target's port."""

    name: str
    seconds: float
    is_triton: bool


@dataclass(slots=True)
class PrometheusConfig:
    """The configuration. `recorded` maps a rule's name to the windows of its expressions."""

    remote_write: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    recorded: dict[str, list[RangeCall]] = field(default_factory=dict)
    evaluation_seconds: dict[str, float] = field(default_factory=dict)
    has_rule_files: bool = False
    empty_patterns: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    external_labels: list[str] = field(default_factory=list)
    """The names of those with a value."""


def read_config(path: Path) -> PrometheusConfig:
    """Read a configuration. Raises: Unreadable; an unreadable file that it names is a problem."""
    document = read_mapping(path)
    config = from_document(document, str(path))
    defaults = document.get("global") or {}
    for file in _files(config, path, document.get("scrape_config_files")):
        with_jobs = _read_part(config, file)
        if not _is_list(with_jobs.get("scrape_configs"), dict):
            config.problems.append(f"{file}: scrape_configs is not a list of mappings")
        else:
            _add_jobs(config, with_jobs, defaults)
    every = _interval(defaults.get("evaluation_interval"), DEFAULT_SECONDS)
    for file in _files(config, path, document.get("rule_files")):
        _add_rules(config, file, every)
    return config


def from_document(document: Mapping[str, Any], source: str) -> PrometheusConfig:
    """Read the configuration itself, without the files that it names. Raises: Unreadable."""
    if problem := _misshapen(document):
        raise Unreadable(f"{source}: {problem}")
    config = PrometheusConfig(document.get("remote_write") or [])
    _add_jobs(config, document, document.get("global") or {})
    config.has_rule_files = "rule_files" in document
    external = (document.get("global") or {}).get("external_labels") or {}
    config.external_labels = [str(label) for label, value in external.items() if value != ""]
    return config


def _read_part(config: PrometheusConfig, file: Path) -> dict[str, Any]:
    try:
        return read_mapping(file)
    except Unreadable as error:
        config.problems.append(str(error))
        return {}


def _files(config: PrometheusConfig, path: Path, patterns: list[str] | None) -> Iterator[Path]:
    """Yield the files that match patterns, relative to the configuration."""
    seen: set[str] = set()
    for pattern in patterns or []:
        files = sorted(glob(str(path.parent / pattern)))  # noqa: PTH207 - a pattern may be absolute
        if not files:
            config.empty_patterns.append(pattern)
        yield from (Path(file) for file in files if file not in seen)
        seen.update(files)


def _add_jobs(config: PrometheusConfig, document: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:  # fmt: skip
    for job in document.get("scrape_configs") or []:
        every = _interval(job.get("scrape_interval"), _interval(defaults.get("scrape_interval"), DEFAULT_SECONDS))  # fmt: skip
        name = str(job.get("job_name", "?"))
        targets = [
            str(target)
            for group in _mappings(job.get("static_configs"))
            for target in group.get("targets") or []
        ]
        is_triton = "triton" in name.lower() or any(
            target.endswith(TRITON_PORT) for target in targets
        )
        config.jobs.append(Job(name, every, is_triton))


def _add_rules(config: PrometheusConfig, file: Path, every: float) -> None:
    groups = _read_part(config, file).get("groups")
    if not _is_list(groups, dict) or not all(_is_list(group.get("rules"), dict) for group in groups or []):  # fmt: skip
        config.problems.append(f"{file}: groups is not a list of rule groups")
        return
    for group in groups or []:
        for rule in group.get("rules") or []:
            if "record" in rule:
                name = str(rule["record"])
                config.recorded.setdefault(name, []).extend(range_calls(str(rule.get("expr", ""))))
                config.evaluation_seconds[name] = _interval(group.get("interval"), every)


def _interval(value: object, default: float) -> float:
    return seconds(str(value or "")) or default


def _mappings(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _misshapen(config: Mapping[str, Any]) -> str:
    """Describe the first part of the wrong type; empty if all are right."""
    if not isinstance(config.get("global") or {}, dict):
        return "global is not a mapping"
    if not isinstance((config.get("global") or {}).get("external_labels") or {}, dict):
        return "external_labels is not a mapping"
    for name in ("rule_files", "scrape_config_files"):
        if not _is_list(config.get(name), str):
            return f"{name} is not a list of paths"
    for name in ("remote_write", "scrape_configs"):
        if not _is_list(config.get(name), dict):
            return f"{name} is not a list of mappings"
    for entry in config.get("remote_write") or []:
        rules = entry.get("write_relabel_configs")
        if not _is_list(rules, dict) or not all(_is_list(rule.get("source_labels"), str) for rule in rules or []):  # fmt: skip
            return "write_relabel_configs is not a list of relabelling rules"
    return ""


def _is_list(value: object, kind: type) -> bool:
    """Whether a value is a list of this type, or missing."""
    return value is None or (isinstance(value, list) and all(isinstance(item, kind) for item in value))  # fmt: skip
