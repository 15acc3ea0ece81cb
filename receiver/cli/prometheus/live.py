"""The configuration of a running Prometheus, from its API.

In: its address. Out: a `PrometheusConfig`, as from a file; jobs and intervals are the targets',
so scrape configuration files and relabelling are included.
"""

from receiver.cli.fetch import NoAnswer, get_json
from receiver.cli.prometheus.addresses import masked
from receiver.cli.prometheus.config import DEFAULT_SECONDS, Job, PrometheusConfig, from_document
from receiver.cli.prometheus.intervals import of_live
from receiver.cli.prometheus.promql import range_calls
from receiver.cli.prometheus.yaml_file import Unreadable, parse_mapping
from receiver.cli.upstream import ask_prometheus


def ask_config(address: str) -> PrometheusConfig:
    """Ask for configuration, targets and rules. Raises: NoAnswer."""
    url = address.rstrip("/")
    text = get_json(f"{url}/api/v1/status/config", "data")["data"]
    try:
        config = from_document(parse_mapping(str(text["yaml"]), masked(url)), masked(url))
    except (Unreadable, KeyError, TypeError) as error:
        raise NoAnswer(f"{masked(url)} answers, but shows no configuration: {error}") from error
    prometheus = ask_prometheus(url)
    if prometheus.error:
        raise NoAnswer(prometheus.error)
    intervals = of_live(prometheus, masked(url))
    known = {job.name: job for job in config.jobs}
    for name, every in intervals.by_job.items():
        is_triton = known[name].is_triton if name in known else "triton" in name.lower()
        known[name] = Job(name, every, is_triton)
    config.jobs = list(known.values())
    for rule in prometheus.rules:
        config.recorded.setdefault(rule.name, []).extend(range_calls(rule.query))
        config.evaluation_seconds[rule.name] = rule.seconds or DEFAULT_SECONDS
    return config
