"""Make a configuration for one run from the committed `prometheus/prometheus.yml`.

Everything of the original stays but what a run must set for itself: where
Triton and the receiver are, how often to scrape and to evaluate, and absolute
paths of the rule files, since Prometheus looks for them beside the copy.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def render_config(
    base: Path,
    out: Path,
    *,
    triton: str,
    receiver_url: str,
    scrape_seconds: float,
    evaluation_seconds: float,
    remote_write_extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write `out`, a copy of `base` for one run, and return its path.

    `triton` is host:port of its metrics; `receiver_url` is the whole URL, path
    included. `remote_write_extra` is laid over the remote_write entry; inner
    maps such as queue_config are merged key by key.

    Raises: KeyError, IndexError if `base` lacks what is to be replaced.
    """
    config: dict[str, Any] = yaml.safe_load(base.read_text())
    config["global"] |= {
        "scrape_interval": duration(scrape_seconds),
        "scrape_timeout": duration(min(scrape_seconds, 10)),  # never above the interval
        "evaluation_interval": duration(evaluation_seconds),
    }
    here = base.resolve().parent
    config["rule_files"] = [str(here / path) for path in config["rule_files"]]
    job = next(job for job in config["scrape_configs"] if job["job_name"] == "triton")
    job["static_configs"][0]["targets"] = [triton]
    remote: dict[str, Any] = config["remote_write"][0]
    remote["url"] = receiver_url
    config["remote_write"][0] = merged(remote, remote_write_extra or {})
    out.write_text(yaml.safe_dump(config, sort_keys=False))
    return out


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, maps within maps merged alike."""
    result = dict(base)
    for key, value in over.items():
        match result.get(key), value:
            case Mapping() as below, Mapping() as above:
                result[key] = merged(below, above)
            case _:
                result[key] = value
    return result


def duration(seconds: float) -> str:
    """Write a duration as Prometheus reads it: 2 is `2s`, 0.5 is `500ms`."""
    milliseconds = round(seconds * 1000)
    if milliseconds <= 0:
        message = f"Prometheus needs a duration of at least a millisecond, not {seconds} s"
        raise ValueError(message)
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"
