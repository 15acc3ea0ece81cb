"""Triton and Prometheus as `doctor` and `explain` see them. Asks; decides nothing."""

import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from receiver.cli.fetch import NoAnswer, exposed, get, get_json, get_text
from receiver.cli.prometheus.addresses import masked
from receiver.cli.prometheus.promql import Look, looks, looks_in, seconds
from receiver.cli.prometheus.windows import Pace

LATELY_SECONDS = 600


@dataclass(slots=True)
class Triton:
    """What Triton said. `error` where it did not answer; `names` with their series."""

    error: str = ""
    ready: bool = False
    metrics_error: str = ""
    names: dict[str, int] = field(default_factory=dict)


def ask_triton(url: str, metrics_url: str) -> Triton:
    """Ask Triton whether it is ready and what it shows."""
    found = Triton()
    try:
        found.ready = get(f"{url.rstrip('/')}/v2/health/ready")[0] == 200
    except NoAnswer as error:
        found.error = str(error)
    if metrics_url:
        try:
            found.names = exposed(get_text(metrics_url))
        except NoAnswer as error:
            found.metrics_error = str(error)
    return found


@dataclass(slots=True)
class Queue:
    """One remote_write of Prometheus', by its own metrics."""

    url: str
    sent: float = 0.0
    failed: float = 0.0
    retried: float = 0.0
    pending: float = 0.0
    behind_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A recording rule, and how often it is evaluated."""

    name: str
    query: str
    seconds: float


@dataclass(slots=True)
class Prometheus:
    """What Prometheus said. `names` are those of the last ten minutes.

    An agent evaluates no rules and answers no queries: it has targets and queues alone.
    """

    error: str = ""
    is_agent: bool = False
    targets: list[dict[str, Any]] = field(default_factory=list)
    queues: list[Queue] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @property
    def recorded(self) -> set[str]:
        """The names that rules make."""
        return {rule.name for rule in self.rules}


def ask_prometheus(url: str) -> Prometheus:
    """Ask Prometheus what it scrapes, computes, holds and writes."""
    url, found = url.rstrip("/"), Prometheus()
    now = time.time()
    try:
        found.queues = _queues(get_text(f"{url}/metrics"))
        found.targets = get_json(f"{url}/api/v1/targets?state=active")["data"]["activeTargets"]
        found.is_agent = _is_agent(url)
        if found.is_agent:
            return found
        groups = get_json(f"{url}/api/v1/rules?type=record")["data"]["groups"]
        found.rules = [
            Rule(rule["name"], str(rule.get("query", "")), float(group.get("interval", 0)))
            for group in groups
            for rule in group["rules"]
        ]
        span = f"start={now - LATELY_SECONDS:.0f}&end={now:.0f}"
        found.names = set(get_json(f"{url}/api/v1/label/__name__/values?{span}")["data"])
    except NoAnswer as error:
        found.error = str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found.error = f"{masked(url)} answers, but not as Prometheus does: no {error}"
    return found


def _is_agent(url: str) -> bool:
    try:
        flags = get_json(f"{url}/api/v1/status/flags")["data"]
    except NoAnswer:  # what stands in for Prometheus may have none
        return False
    return flags.get("agent") == "true" or "agent" in flags.get("enable-feature", "").split(",")


def ask_looks(url: str, query: str) -> list[Look]:
    """Find what an expression looks back at: Prometheus 3 parses it itself, for 2 it is read here."""
    try:
        tree = get_json(f"{url.rstrip('/')}/api/v1/parse_query?query={quote(query)}", "data")
        return looks_in(tree["data"])
    except (NoAnswer, KeyError, TypeError):
        return looks(query)


def ask_paces(url: str, found: Prometheus, names: Collection[str]) -> dict[str, list[Pace]]:
    """Find how often each of these names gets a sample: its jobs' interval, or its rule's.

    Raises: NoAnswer.
    """
    every = {rule.name: rule.seconds for rule in found.rules}
    paces = {name: [Pace(f"of the rule {name}", every[name])] for name in names if name in every}
    scraped = sorted(set(names) - set(paces))
    if not scraped:
        return paces
    slowest: dict[str, float] = {}
    for target in found.targets:
        job = str(target.get("labels", {}).get("job", ""))
        interval = seconds(str(target.get("scrapeInterval", "")))
        slowest[job] = max(slowest.get(job, 0.0), interval)
    pattern = "|".join(re.escape(name) for name in scraped).replace("\\", "\\\\")
    for row in ask_vector(url, quote(f'count by (__name__, job) ({{__name__=~"{pattern}"}})')):
        labels = row.get("metric", {})
        job = labels.get("job", "")
        if interval := slowest.get(job, 0.0):
            paces.setdefault(labels.get("__name__", ""), []).append(Pace(job, interval))
    return paces


def ask_series(url: str, name: str) -> list[dict[str, Any]]:
    """Ask Prometheus for the series of a name, with their latest value. Raises: NoAnswer."""
    query = quote(f'{{__name__="{name}"}}')
    return ask_vector(url, query)


def ask_vector(url: str, query: str) -> list[dict[str, Any]]:
    """Ask Prometheus a query, quoted, whose answer is an instant vector. Raises: NoAnswer."""
    url = f"{url.rstrip('/')}/api/v1/query?query={query}"
    data = get_json(url, "data")["data"]
    found = data.get("result") if isinstance(data, dict) else None
    if not isinstance(found, list):
        raise NoAnswer(f"{url} does not answer as Prometheus does")
    return found


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
