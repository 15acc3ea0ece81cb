"""Requests to Triton and Prometheus for `doctor` and `explain`. Reads only; decides nothing."""

import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from receiver.cli.fetch import NoAnswer, exposed, get, get_json, get_text
from receiver.cli.prometheus.addresses import masked
from receiver.cli.prometheus.promql import RangeCall, range_calls, range_calls_in, seconds
from receiver.cli.prometheus.windows import SampleInterval

LATELY_SECONDS = 600


@dataclass(slots=True)
class Triton:
    """Triton's state. `error` if it did not answer; `names` with their numbers of series."""

    error: str = ""
    ready: bool = False
    metrics_error: str = ""
    names: dict[str, int] = field(default_factory=dict)


def ask_triton(url: str, metrics_url: str) -> Triton:
    """Ask Triton whether it is ready, and for its metrics."""
    triton = Triton()
    try:
        triton.ready = get(f"{url.rstrip('/')}/v2/health/ready")[0] == 200
    except NoAnswer as error:
        triton.error = str(error)
    if metrics_url:
        try:
            triton.names = exposed(get_text(metrics_url))
        except NoAnswer as error:
            triton.metrics_error = str(error)
    return triton


@dataclass(slots=True)
class Queue:
    """One remote_write of Prometheus, read from its own metrics."""

    url: str
    sent: float = 0.0
    failed: float = 0.0
    retried: float = 0.0
    pending: float = 0.0
    behind_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule, and its evaluation interval."""

    name: str
    query: str
    seconds: float


@dataclass(slots=True)
class Prometheus:
    """Prometheus' state. `names` are those of the last ten minutes.

    An agent evaluates no rules and answers no queries: it has only targets and queues.
    """

    error: str = ""
    is_agent: bool = False
    targets: list[dict[str, Any]] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @property
    def recorded(self) -> set[str]:
        """The names that rules record."""
        return {rule.name for rule in self.rules}


def ask_prometheus(url: str) -> Prometheus:
    """Ask Prometheus for its targets, rules, names and remote_write queues."""
    url, prometheus = url.rstrip("/"), Prometheus()
    now = time.time()
    try:
        prometheus.queues = _queues(get_text(f"{url}/metrics"))
        prometheus.targets = get_json(f"{url}/api/v1/targets?state=active")["data"]["activeTargets"]
        prometheus.is_agent = _is_agent(url)
        if prometheus.is_agent:
            return prometheus
        groups = get_json(f"{url}/api/v1/rules?type=record")["data"]["groups"]
        prometheus.rules = [
            Rule(rule["name"], str(rule.get("query", "")), float(group.get("interval", 0)))
            for group in groups
            for rule in group["rules"]
        ]
        span = f"start={now - LATELY_SECONDS:.0f}&end={now:.0f}"
        prometheus.names = set(get_json(f"{url}/api/v1/label/__name__/values?{span}")["data"])
    except NoAnswer as error:
        prometheus.error = str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        prometheus.error = f"{masked(url)} answers, but not as Prometheus does: no {error}"
    return prometheus


def _is_agent(url: str) -> bool:
    try:
        flags = get_json(f"{url}/api/v1/status/flags")["data"]
    except NoAnswer:  # a compatible server may not have this path
        return False
    return flags.get("agent") == "true" or "agent" in flags.get("enable-feature", "").split(",")


def ask_range_calls(url: str, query: str) -> list[RangeCall]:
    """Return the windows of an expression, as Prometheus 3 parses it; for Prometheus 2 it is parsed here."""
    try:
        tree = get_json(f"{url.rstrip('/')}/api/v1/parse_query?query={quote(query)}", "data")
        return range_calls_in(tree["data"])
    except (NoAnswer, KeyError, TypeError):
        return range_calls(query)


def ask_sample_intervals(
    url: str, prometheus: Prometheus, names: Collection[str]
) -> dict[str, list[SampleInterval]]:
    """Return the sample intervals of these names: their jobs', or their rule's.

    Raises: NoAnswer.
    """
    every = {rule.name: rule.seconds for rule in prometheus.rules}
    intervals = {
        name: [SampleInterval(f"of the rule {name}", every[name])]
        for name in names
        if name in every
    }
    scraped = sorted(set(names) - set(intervals))
    if not scraped:
        return intervals
    slowest: dict[str, float] = {}
    for target in prometheus.targets:
        job = str(target.get("labels", {}).get("job", ""))
        interval = seconds(str(target.get("scrapeInterval", "")))
        slowest[job] = max(slowest.get(job, 0.0), interval)
    pattern = "|".join(re.escape(name) for name in scraped).replace("\\", "\\\\")
    for row in ask_vector(url, quote(f'count by (__name__, job) ({{__name__=~"{pattern}"}})')):
        labels = row.get("metric", {})
        job = labels.get("job", "")
        if interval := slowest.get(job, 0.0):
            intervals.setdefault(labels.get("__name__", ""), []).append(
                SampleInterval(job, interval)
            )
    return intervals


def ask_series(url: str, name: str) -> list[dict[str, Any]]:
    """Ask Prometheus for the series of a name, with their latest value. Raises: NoAnswer."""
    query = quote(f'{{__name__="{name}"}}')
    return ask_vector(url, query)


def ask_vector(url: str, query: str) -> list[dict[str, Any]]:
    """Run a quoted query whose result is an instant vector. Raises: NoAnswer."""
    url = f"{url.rstrip('/')}/api/v1/query?query={query}"
    data = get_json(url, "data")["data"]
    rows = data.get("result") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise NoAnswer(f"{url} does not answer as Prometheus does")
    return rows


_COUNTS = {
    "prometheus_remote_storage_samples_total": "sent",
    "prometheus_remote_storage_succeeded_samples_total": "sent",
    "prometheus_remote_storage_samples_failed_total": "failed",
    "prometheus_remote_storage_samples_retried_total": "retried",
    "prometheus_remote_storage_samples_pending": "pending",
}
_SENT_AT = "prometheus_remote_storage_queue_highest_sent_timestamp_seconds"
_HIGHEST = "prometheus_remote_storage_highest_timestamp_in_seconds"


def _queues(text: str) -> list[Queue]:
    """Read the queues from Prometheus' own metrics."""
    queues: dict[str, Queue] = {}
    sent_at: dict[str, float] = {}
    highest = 0.0
    for line in text.splitlines():
        if not line.startswith("prometheus_remote_storage_"):
            continue
        name, _, rest = line.partition("{")
        if not rest:
            if name.startswith(_HIGHEST):
                highest = float(line.rpartition(" ")[2])
            continue
        url = rest.partition('url="')[2].partition('"')[0]
        value = float(line.rpartition(" ")[2])
        if name == _SENT_AT:
            sent_at[url] = value
        if name in _COUNTS and url:
            queue = queues.setdefault(url, Queue(url))
            setattr(queue, _COUNTS[name], value)
    for url, queue in queues.items():
        if highest and sent_at.get(url):
            queue.behind_seconds = max(0.0, highest - sent_at[url])
    return list(queues.values())
