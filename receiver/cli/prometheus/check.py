"""The checks of a Prometheus configuration: its remote_write to this receiver, its recording rules.

In: the path of a prometheus.yml, the receiver's port and replica label, the entries of
metrics.json. Out: findings, the cause first. Checks of a running Prometheus are in `doctor`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from receiver.cli.fetch import NoAnswer, is_address
from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.addresses import Fit, best, fit, masked, right
from receiver.cli.prometheus.config import PrometheusConfig, read_config
from receiver.cli.prometheus.live import ask_config
from receiver.cli.prometheus.promql import RangeCall
from receiver.cli.prometheus.promtool import check_config
from receiver.cli.prometheus.relabelling import keeps_name
from receiver.cli.prometheus.replicas import judge_replicas
from receiver.cli.prometheus.shards import is_sharded, judge_shards
from receiver.cli.prometheus.windows import SampleInterval, judge_windows
from receiver.cli.prometheus.yaml_file import Unreadable
from receiver.errors import WRITE_PATH
from receiver.intake.metrics_json import Entry

RULES_HINT = "Copy prometheus/rules/triton_irate.yml beside prometheus.yml and name it under rule_files."  # fmt: skip


def check_prometheus(
    path: str,
    port: int,
    entries: Sequence[Entry],
    promtool: str | None = None,
    replica_label: str = "",
) -> list[Finding]:
    """Check a configuration and its rules; an unreadable file is a finding too.

    `path` is a file, or the address of a running Prometheus.
    """
    try:
        config = ask_config(path) if is_address(path) else read_config(Path(path))
    except Unreadable as error:
        return [Finding("file", Mark.FAIL, str(error), "Run promtool check config for details.")]
    except NoAnswer as error:
        return [Finding("address", Mark.FAIL, str(error), "Give a prometheus.yml, or an address that answers from here.")]  # fmt: skip
    names = [*(entry.name for entry in entries), *(per for entry in entries for per in entry.per)]
    return [
        *([] if is_address(path) else [check_config(path, promtool)]),
        *_check_files(config),
        *_check_remote_write(config, port, names, replica_label),
        *judge_shards(_receivers(config, port), entries),
        *_check_scrape(config),
        *_check_rules(config, names),
    ]


def _check_files(config: PrometheusConfig) -> Iterator[Finding]:
    for problem in config.problems:
        yield Finding("file", Mark.FAIL, problem, "Run promtool check rules for details.")
    if config.empty_patterns:
        detail = f"no file matches {', '.join(config.empty_patterns)}"
        yield Finding("file", Mark.WARN, detail, "Paths are relative to prometheus.yml.")


def _check_remote_write(
    config: PrometheusConfig, port: int, names: Sequence[str], replica_label: str
) -> Iterator[Finding]:
    urls = [str(entry.get("url", "")) for entry in config.remote_write]
    how, ours = best(zip(urls, config.remote_write, strict=True), port)
    if how <= Fit.MISSPELT:
        yield from explain_address(how, urls, port)
        return
    url = str(ours[0].get("url", ""))
    yield Finding("remote_write", Mark.OK, address_is_fine(how, url, port))
    misspelt = [address for address in urls if fit(address, port) is Fit.MISSPELT]
    for address in misspelt:
        yield Finding("remote_write", Mark.WARN, f"{masked(address)} is answered 404 as well", f"Remove that entry, or correct it: {right(address)}")  # fmt: skip
    if sum(str(entry.get("url", "")) == url and not is_sharded(entry) for entry in ours) > 1:
        yield Finding("remote_write", Mark.WARN, f"{masked(url)} appears twice: every item would be sent twice", "Remove one of the two entries.")  # fmt: skip
    kept_away = [name for name in names if not _is_glob(name) and not any(keeps_name(name, entry) for entry in ours)]  # fmt: skip
    if kept_away:
        detail = f"write_relabel_configs drop {', '.join(kept_away)}"
        yield Finding("relabel", Mark.FAIL, detail, "appinsights-receiver relabel prints rules that match metrics.json.")  # fmt: skip
    yield from judge_replicas(config.external_labels, ours, replica_label)


def explain_address(how: Fit, urls: Sequence[str], port: int) -> Iterator[Finding]:
    """Explain why none of these addresses leads to the receiver, and give the right one."""
    near = [url for url in urls if fit(url, port) is how]
    if how is Fit.MISSPELT:
        yield Finding("remote_write", Mark.FAIL, f"{masked(near[0])} is answered 404: the receiver's path is exactly {WRITE_PATH}", f"url: {right(near[0])}")  # fmt: skip
    elif how is Fit.PREFIXED:
        yield Finding("remote_write", Mark.WARN, f"it writes to {masked(near[0])}: right only if a proxy rewrites its path to {WRITE_PATH}", "Try it: curl -si -X POST URL must not answer 404.")  # fmt: skip
    else:
        destinations = f"to other addresses: {', '.join(map(masked, urls))}" if urls else "nowhere: there is no remote_write"  # fmt: skip
        fix = f"Add under remote_write: - url: http://localhost:{port}{WRITE_PATH} (or this host's name, and https where TLS is on)."
        yield Finding("remote_write", Mark.FAIL, f"it writes {destinations}", fix)


def address_is_fine(how: Fit, url: str, port: int) -> str:
    """Confirm the address; where its port is not the receiver's, state the assumption."""
    if how is Fit.PROXIED:
        return f"it writes to {masked(url)}: its port is not the receiver's {port}, which is right behind a Service, an Ingress or a port mapping"
    return f"it writes to {masked(url)}"


def _receivers(config: PrometheusConfig, port: int) -> Sequence[Mapping[str, Any]]:
    """Find the entries that lead to receivers: to this port, or to another one with a shard."""
    rated = [(fit(str(entry.get("url", "")), port), entry) for entry in config.remote_write]
    return [
        entry
        for how, entry in rated
        if how >= Fit.EXACT or (how is Fit.PROXIED and is_sharded(entry))
    ]


def _check_scrape(config: PrometheusConfig) -> Iterator[Finding]:
    if not config.jobs:
        fix = "Add a job whose target is Triton's metrics port: localhost:8002."
        yield Finding("scrape", Mark.WARN, "it scrapes nothing", fix)
        return
    jobs = ", ".join(f"{job.name} every {job.seconds:g} s" for job in config.jobs)
    yield Finding("scrape", Mark.OK, f"jobs: {jobs}")


def _check_rules(config: PrometheusConfig, names: Sequence[str]) -> Iterator[Finding]:
    irates = [name for name in names if name.endswith("_irate") and not _is_glob(name)]
    missing = [name for name in irates if name not in config.recorded]
    if missing and not config.has_rule_files:
        detail = f"no rule_files: {', '.join(missing)} must be recorded elsewhere"
        fix = f"With --agent Prometheus evaluates no rules: name the counters instead ({missing[0].removesuffix('_irate')}). Otherwise: {RULES_HINT}"
        yield Finding("rules", Mark.WARN, detail, fix)
    elif missing:
        yield Finding("rules", Mark.FAIL, f"no rule records {', '.join(missing)}", RULES_HINT)
    elif irates:
        yield Finding("rules", Mark.OK, f"rules record all {len(irates)} selected _irate names")
    wanted = {name: config.recorded[name] for name in names if name in config.recorded}
    intervals = {
        call: _sample_intervals(config, call)
        for range_calls in wanted.values()
        for call in range_calls
    }
    yield from judge_windows(wanted, intervals)


def _sample_intervals(config: PrometheusConfig, call: RangeCall) -> list[SampleInterval]:
    """Return the sample intervals of a window's series: their jobs', or their rule's."""
    if call.name in config.evaluation_seconds:
        return [SampleInterval(f"of the rule {call.name}", config.evaluation_seconds[call.name])]
    named = [job for job in config.jobs if job.name == call.job]
    triton = [job for job in config.jobs if job.is_triton] if call.name.startswith("nv_") else []
    chosen = named or triton or config.jobs
    certain = bool(named or triton) or len(chosen) == 1
    return [SampleInterval(job.name, job.seconds, certain) for job in chosen]


def _is_glob(name: str) -> bool:
    return "*" in name or "?" in name
