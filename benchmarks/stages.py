"""What each stage costs, in CPU nanoseconds a sample: the path without its sockets."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.payloads import SELECTED_PREFIX, Workload, endless, make_requests
from receiver.azure.envelope import Identity
from receiver.azure.limits import EXPIRY_MS
from receiver.intake.decode import Message, decompress
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline
from receiver.outbox.gzip_body import compress_chunks
from receiver.outbox.store import Outbox
from receiver.outbox.values import Settlement, Submission
from receiver.server.write_handler import digest

WARM, COUNTED = 50, 150
LIMIT_BYTES = 1 << 30
SENDERS = 4
"""Batches that are under way at once, by default."""

Made = TypeVar("Made")


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], Made]) -> Made:
        started = time.process_time()
        made = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - started
        return made


def measure_stages() -> dict[str, dict[str, float]]:
    """Return nanoseconds a sample, by workload and stage; requests of 2,000 series, 20,000 warm."""
    return {
        f"{selected} % selected": _stages(Workload(selected=selected)) for selected in (0, 10, 100)
    }


def _stages(workload: Workload) -> dict[str, float]:
    stream = endless(make_requests(workload))
    allowlist = Allowlist([Entry(f"{SELECTED_PREFIX}*")])
    selection = Pipeline(allowlist, Identity("key", "host"), LIMIT_BYTES)
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder), 1 << 40, "key", EXPIRY_MS)
        samples = 0
        clock = _Clock()
        for number in range(WARM + COUNTED):
            if number == WARM:
                samples, clock = 0, _Clock()
            request = next(stream)
            samples += request.samples
            _one(request.body, selection, outbox, clock)
        outbox.close()
    return {stage: seconds / samples * 1e9 for stage, seconds in clock.seconds.items()}


def _one(body: bytes, selection: Pipeline, outbox: Outbox, clock: _Clock) -> None:
    raw = clock.time("decompress", lambda: decompress(body, LIMIT_BYTES))
    intake = clock.time("recognise, select, render", lambda: selection.process(raw, Message.V1))
    if not intake.chunks:
        return
    told = clock.time("digest", lambda: digest(body, Message.V1))
    submission = Submission(intake.chunks, intake.oldest_ms, intake.newest_ms, {}, told, b"{}")
    compressed = clock.time("compress", lambda: compress_chunks(submission))
    clock.time("commit", lambda: outbox.apply([compressed], []))
    while batches := clock.time("fetch batches", lambda: outbox.next_batches((), 0, SENDERS)):
        settled = [Settlement(batch, accepted=batch.items) for batch in batches]
        clock.time("settle batches", lambda settled=settled: outbox.apply([], settled))  # type: ignore[misc]
