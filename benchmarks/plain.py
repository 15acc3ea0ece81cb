"""The same work, written plainly: the baseline. Its CPU alone, without HTTP or disk.

A program of its own: `python -m benchmarks.plain FILE SECONDS`. Ordinary generated
code, every label into a dictionary, a set of names, `json`, zlib 6 for each request.
"""

import gzip
import json
import pickle
import sys
import time
from datetime import UTC, datetime
from typing import Any

import snappy

from benchmarks.payloads import SELECTED_PREFIX, Request
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest

KEY = "00000000-0000-0000-0000-000000000000"


def body_of(request: bytes) -> bytes:
    """Turn one request into the body of one POST; empty where nothing is selected."""
    lines = []
    for series in WriteRequest.FromString(snappy.uncompress(request)).timeseries:
        labels = {label.name.decode(): label.value.decode() for label in series.labels}
        name = labels.pop("__name__")
        if name.startswith(SELECTED_PREFIX):
            lines += [
                json.dumps(envelope(name, labels, each.value, each.timestamp))
                for each in series.samples
            ]
    return gzip.compress("\n".join(lines).encode(), 6) if lines else b""


def envelope(name: str, labels: dict[str, str], value: float, timestamp_ms: int) -> dict[str, Any]:
    """Make one item of Application Insights."""
    moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    return {
        "name": "Microsoft.ApplicationInsights.Metric",
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "iKey": KEY,
        "tags": {
            "ai.cloud.role": labels.get("job", "prometheus"),
            "ai.cloud.roleInstance": labels.get("instance", "host"),
        },
        "data": {
            "baseType": "MetricData",
            "baseData": {
                "ver": 2,
                "properties": labels,
                "metrics": [{"name": name, "value": value}],
            },
        },
    }


def main(file: str, seconds: float) -> None:
    """Work through the requests of a pickle for so long, and print what that took."""
    with open(file, "rb") as opened:  # noqa: PTH123 - one line
        requests: list[Request] = pickle.load(opened)  # noqa: S301 - our own
    body_of(requests[0].body)
    samples = size_bytes = number = 0
    started = time.process_time()
    while time.process_time() < started + seconds:
        request = requests[number % len(requests)]
        size_bytes += len(body_of(request.body))
        samples += request.samples
        number += 1
    cpu = time.process_time() - started
    print(json.dumps({"samples": samples, "cpu_seconds": cpu, "size_bytes": size_bytes}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
