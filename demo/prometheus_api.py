"""Ask a Prometheus over its HTTP API, and read its answers into values.

Times are milliseconds, as remote write has them, so that the two can be
compared sample by sample. Source: Prometheus' HTTP API and management API.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
import yaml

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=10)


class PrometheusFailed(Exception):
    """Prometheus can't be started or refused a request; the message is for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Sample(NamedTuple):
    """A value at a time."""

    timestamp_ms: int
    value: float


@dataclass(frozen=True)
class Series:
    """A series of a query's result, oldest sample first."""

    labels: Mapping[str, str]
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """Its metric name; empty where an operator dropped it."""
        return self.labels.get("__name__", "")

    @property
    def value(self) -> float:
        """Its newest value."""
        return self.samples[-1].value


@dataclass(frozen=True)
class Target:
    """A scrape target and how its last scrape went; health is up, down or unknown."""

    labels: Mapping[str, str]
    scrape_url: str
    health: str
    last_error: str


@dataclass(frozen=True)
class RuleGroup:
    """A group of rules: how often it runs, and what it records."""

    name: str
    interval_seconds: float
    records: tuple[str, ...]


class PrometheusApi:
    """The API at `url`, which has no slash at its end. Every method may raise PrometheusFailed."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def query(self, expr: str, time: float | None = None) -> list[Series]:
        """Evaluate `expr` at a Unix time in seconds, by default now.

        A sample of an instant vector bears the time of the query, not its own.
        """
        when = {} if time is None else {"time": f"{time:.3f}"}
        return series_of(await self._data("/api/v1/query", {"query": expr, **when}))

    async def query_range(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """Evaluate `expr` every `step` seconds from `start` to `end`, Unix times in seconds."""
        span = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return series_of(await self._data("/api/v1/query_range", {"query": expr, **span}))

    async def raw_samples(
        self, selector: str, window: str = "5m", time: float | None = None
    ) -> list[Series]:
        """Return the samples as stored in `window` before `time`, with their own times.

        Staleness markers are left out: Prometheus doesn't show them.
        """
        return await self.query(f"{selector}[{window}]", time)

    async def targets(self) -> list[Target]:
        """Return the active scrape targets; for five seconds after a start there are none."""
        return targets_of(await self._data("/api/v1/targets"))

    async def rules(self) -> list[RuleGroup]:
        """Return the groups of rules as loaded."""
        return rule_groups_of(await self._data("/api/v1/rules"))

    async def flags(self) -> dict[str, str]:
        """Return the command-line flags that it runs with, defaults included."""
        return dict(await self._data("/api/v1/status/flags"))

    async def config(self) -> dict[str, Any]:
        """Return the configuration that it runs with, defaults included."""
        return dict(yaml.safe_load((await self._data("/api/v1/status/config"))["yaml"]))

    async def reload(self) -> None:
        """Have it read its configuration and rules again; on an error it keeps the old."""
        try:
            async with (
                aiohttp.ClientSession(timeout=REQUEST_TIMEOUT) as session,
                session.post(f"{self.url}/-/reload") as response,
            ):
                if not response.ok:
                    said = (await response.text()).strip()
                    raise PrometheusFailed(f"Prometheus didn't reload: {said}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def _data(self, path: str, form: Mapping[str, str] | None = None) -> Any:
        method = "GET" if form is None else "POST"  # queries can be longer than a URL
        try:
            async with (
                aiohttp.ClientSession(timeout=REQUEST_TIMEOUT) as session,
                session.request(method, self.url + path, data=form) as response,
            ):
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from error
        if answer.get("status") != "success":
            asked = f"{path} {dict(form or {})}"
            raise PrometheusFailed(f"Prometheus refused {asked}: {answer.get('error', answer)}")
        return answer["data"]

    def _unreachable(self, error: Exception) -> PrometheusFailed:
        return PrometheusFailed(f"Prometheus at {self.url} gave no answer: {error!r}")


def series_of(data: Mapping[str, Any]) -> list[Series]:
    """Read the `data` of a query's answer: a vector, a matrix or a scalar."""
    if data["resultType"] == "scalar":
        return [Series({}, (_sample(data["result"]),))]
    return [
        Series(
            labels=dict(entry["metric"]),
            samples=tuple(map(_sample, entry.get("values") or [entry["value"]])),
        )
        for entry in data["result"]
    ]


def targets_of(data: Mapping[str, Any]) -> list[Target]:
    """Read the `data` of the answer about targets: the active ones."""
    return [
        Target(
            labels=dict(entry["labels"]),
            scrape_url=entry["scrapeUrl"],
            health=entry["health"],
            last_error=entry["lastError"],
        )
        for entry in data["activeTargets"]
    ]


def rule_groups_of(data: Mapping[str, Any]) -> list[RuleGroup]:
    """Read the `data` of the answer about rules."""
    return [
        RuleGroup(group["name"], group["interval"], tuple(rule["name"] for rule in group["rules"]))
        for group in data["groups"]
    ]


def _sample(pair: tuple[float, str]) -> Sample:
    seconds, value = pair
    return Sample(round(seconds * 1000), float(value))  # float reads NaN, +Inf and -Inf too
