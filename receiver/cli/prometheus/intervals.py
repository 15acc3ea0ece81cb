"""The sample intervals of series: from a prometheus.yml, from a running Prometheus, or assumed.

In: what was read of either. Out: `Intervals`, by a series' labels. Pure. A rule's interval
takes precedence over its target's, a target's over its job's. Of several candidates the
shortest is taken: it gives the most samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from receiver.cli.prometheus.config import Job, PrometheusConfig
from receiver.cli.prometheus.promql import seconds
from receiver.cli.upstream import Prometheus
from receiver.pack.forecast import RULE_SECONDS, SCRAPE_SECONDS, Seen
from receiver.pack.forms import RATE

Target = tuple[str, str]
"""Job and instance."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """Intervals; `scrape_seconds` is for unknown targets and jobs, `words` names its source.

    `by_rule` is None if the rules are unknown: then every `_irate` may be recorded.
    """

    scrape_seconds: float
    words: str
    by_target: Mapping[Target, float] = field(default_factory=dict)
    by_job: Mapping[str, float] = field(default_factory=dict)
    by_rule: Mapping[str, float] | None = None
    is_known: bool = True

    def of(self, labels: Mapping[str, str]) -> float:
        """Return the seconds between two samples of a series."""
        name, job = labels["__name__"], labels.get("job", "")
        if self.by_rule and name in self.by_rule:
            return self.by_rule[name]
        if name.endswith(RATE):
            return RULE_SECONDS
        target = job, labels.get("instance", "")
        return self.by_target.get(target) or self.by_job.get(job) or self.scrape_seconds

    def applied(self, series: Iterable[Seen]) -> list[Seen]:
        """Return the series with their intervals, without rates that no rule records."""
        kept = (row for row in series if self._is_made(row.name))
        return [replace(row, seconds=self.of(row.labels)) for row in kept]

    def _is_made(self, name: str) -> bool:
        return self.by_rule is None or not name.endswith(RATE) or name in self.by_rule


def assumed(why: str = "") -> Intervals:
    """Return the assumed default."""
    reason = f": {why}" if why else ""
    words = f"every {SCRAPE_SECONDS:g} s (assumed{reason})"
    return Intervals(SCRAPE_SECONDS, words, is_known=False)


def as_said(scrape_seconds: float) -> Intervals:
    """Return the interval given on the command line."""
    return Intervals(scrape_seconds, f"every {scrape_seconds:g} s, as --scrape-seconds says")


def of_config(config: PrometheusConfig, source: str) -> Intervals:
    """Return a configuration's intervals: the global one, the jobs', the rules'."""
    return _of_jobs(config.jobs, {}, config.evaluation_seconds, source)


def of_live(prometheus: Prometheus, source: str) -> Intervals:
    """Return a running Prometheus' intervals: the targets', the rules'."""
    by_target: dict[Target, float] = {}
    for target in prometheus.targets:
        labels = target.get("labels", {})
        if every := seconds(str(target.get("scrapeInterval", ""))):
            by_target[str(labels.get("job", "")), str(labels.get("instance", ""))] = every
    jobs = {
        job: Job(job, min(every for (name, _), every in by_target.items() if name == job), _is_tritons(job, by_target))
        for job, _ in by_target
    }  # fmt: skip
    rules = {rule.name: rule.seconds or RULE_SECONDS for rule in prometheus.rules}
    return _of_jobs(list(jobs.values()), by_target, None if prometheus.is_agent else rules, source)


def _is_tritons(job: str, targets: Iterable[Target]) -> bool:
    return "triton" in job.lower() or any(
        instance.endswith(":8002") for name, instance in targets if name == job
    )


def _of_jobs(
    jobs: Sequence[Job],
    by_target: Mapping[Target, float],
    by_rule: Mapping[str, float] | None,
    source: str,
) -> Intervals:
    if not jobs:
        return assumed(f"{source} scrapes nothing")
    meant = [job for job in jobs if job.is_triton] or list(jobs)
    shortest = min(meant, key=lambda job: job.seconds)
    others = sorted({job.seconds for job in meant} - {shortest.seconds})
    words = f"every {shortest.seconds:g} s, as {source} says of job {shortest.name}"
    if others:
        words += f" (of other jobs: {', '.join(f'{interval:g} s' for interval in others)})"
    by_job = {job.name: job.seconds for job in jobs}
    return Intervals(shortest.seconds, words, by_target, by_job, by_rule)
