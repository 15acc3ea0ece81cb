"""The benchmark sends what it says that it sends."""

from collections import Counter

import snappy

from benchmarks.payloads import Workload, churning, endless, make_requests
from benchmarks.plain import body_of
from benchmarks.sink import Counts
from receiver.azure.envelope import Identity
from receiver.intake.decode import Message, decode
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline


def test_requests_hold_what_they_count() -> None:
    """Samples and selected ones, in both versions, by the receiver's own account."""
    for version, message in ((1, Message.V1), (2, Message.V2)):
        for kind in ("triton", "kubernetes"):
            workload = Workload(kind, 300, 100, 10, 5, version)
            stream = endless(make_requests(workload))
            chosen = Pipeline(Allowlist([Entry("selected_*")]), Identity("k", "h"), 1 << 20)
            for _ in range(20):
                request = next(stream)
                taken = chosen.process(snappy.uncompress(request.body), message)
                assert taken.received == request.samples == 100
                assert len(taken.lines) == request.selected > 0
                assert not taken.refused


def test_newcomers_come_once() -> None:
    """All other series come again in each scrape."""
    workload = Workload(series=200, per_request=100, selected=50)
    stream = churning(workload, 3)
    seen: Counter[tuple[bytes, ...]] = Counter()
    for _ in range(10):
        raw = snappy.uncompress(next(stream).body)
        seen.update(each.label_pairs() for each in decode(raw, Message.V1))
    assert seen.total() == 1000
    assert sum(times == 1 for times in seen.values()) >= 30
    assert len(seen) == 200 + 30


def test_no_two_bodies_are_alike() -> None:
    """The receiver would answer a repeat without work; what is added changes no series."""
    requests = make_requests(Workload(series=20, per_request=10))
    stream = endless(requests)
    bodies = [next(stream).body for _ in range(3 * len(requests))]
    assert len(set(bodies)) == len(bodies)
    raw = snappy.uncompress(bodies[len(requests)])
    assert [each.label_pairs() for each in decode(raw, Message.V1)] == [
        each.label_pairs() for each in decode(snappy.uncompress(requests[0].body), Message.V1)
    ]


def test_the_sink_counts_both_kinds() -> None:
    """Lines of a gzip body, series of a snappy one."""
    (request, *_) = make_requests(Workload(series=50, per_request=50, selected=100))
    counts = Counts()
    counts.take(b"post / http/1.1\r\ncontent-encoding: snappy", request.body)
    assert counts.items == 50
    answer = counts.take(b"post / http/1.1\r\ncontent-encoding: gzip", body_of(request.body))
    assert b'"itemsReceived":49' in answer  # the plain pipeline ends no last line
