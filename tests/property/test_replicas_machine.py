"""Replicas whose clocks are apart, links that break, receivers that die: no double, no reset that never was."""

from collections import deque
from collections.abc import Mapping
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from receiver.azure.envelope import Identity
from receiver.intake.decode import Message
from receiver.intake.metrics_json import Allowlist, Entry, Use
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.replicas import REPLICA, Replicas
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.rows import RECORD
from tests.property.examples import examples

EPOCH_MS = 1_800_000_000_000
TIMEOUT_SECONDS = 30.0
NAMES = ("a", "b", "c")


def _use_of(labels: Mapping[str, str]) -> Use:
    """Render and fold every series, under one number."""
    assert "replica" not in labels
    return Use(labels, 1)


class ReplicasMachine(RuleBasedStateMachine):
    """Replicas scrape one counter that only grows; what counts has to be a subsequence of it."""

    @initialize(
        clocks=st.lists(
            st.sampled_from([-14_500, -6_000, 0, 6_000, 14_500]), min_size=4, max_size=4
        ),
        compiled=st.booleans(),
    )
    def begin(self, clocks: list[int], *, compiled: bool) -> None:
        """Clocks are less than the timeout apart: the replicas', and the receiver's."""
        self.now_ms = 0
        self.value = 100
        self.skews = dict(zip(NAMES, clocks, strict=False))
        self.receiver_skew = clocks[3]
        self.queues: dict[str, deque[tuple[int, int]]] = {name: deque() for name in NAMES}
        self.notes: dict[str, bytes] = {}
        self.counted: list[tuple[int, int]] = []
        self.sent = self.dropped = 0
        self.began_ms = 0
        self.pipeline = Pipeline(
            Allowlist([Entry("*")]),
            Identity("key", "host"),
            1 << 16,
            use_of=_use_of,
            replicas=self.new_replicas(),
            compiled=compiled and IS_COMPILED,
        )

    def new_replicas(self) -> Replicas:
        """As after a start."""
        replicas = Replicas(
            "replica",
            "",
            TIMEOUT_SECONDS,
            lambda: (self.now_ms - self.began_ms) / 1000,
            lambda: (EPOCH_MS + self.now_ms + self.receiver_skew) / 1000,
        )
        assert replicas.load(self.notes) == []
        return replicas

    @rule(milliseconds=st.sampled_from([1, 1_000, 15_000, 31_000, 40_000]))
    def time_goes_by(self, milliseconds: int) -> None:
        """Without a scrape: nothing arrives, or nothing is sent."""
        self.now_ms += milliseconds

    @rule(
        order=st.permutations(NAMES),
        pauses=st.lists(st.sampled_from([1, 500, 5_000]), min_size=len(NAMES), max_size=len(NAMES)),
    )
    def scrape(self, order: list[str], pauses: list[int]) -> None:
        """Each replica in its turn, by its own clock; the counter grows between two of them."""
        for name, pause_ms in zip(order, pauses, strict=True):
            self.now_ms += pause_ms
            self.value += 1
            self.queues[name].append((EPOCH_MS + self.now_ms + self.skews[name], self.value))

    @rule(
        names=st.one_of(st.sampled_from([(name,) for name in NAMES]), st.just(NAMES)),
        most=st.integers(1, 5),
    )
    def send(self, names: tuple[str, ...], most: int) -> None:
        """The oldest of what a replica keeps; of several in one request, as a proxy has it."""
        request = WriteRequest()
        sent = 0
        for name in sorted(names, reverse=True):
            queue = self.queues[name]
            samples = [queue.popleft() for _ in range(min(most, len(queue)))]
            sent += len(samples)
            series = request.timeseries.add()
            for label, text in ((b"__name__", b"counter"), (b"replica", name.encode())):
                series.labels.add(name=label, value=text)
            for time_ms, value in samples:
                series.samples.add(value=value, timestamp=time_ms)
        outcome = self.pipeline.process(request.SerializeToString(), Message.V1)
        assert outcome.received == sent == outcome.rendered + outcome.dropped[REPLICA]
        self.counted += [
            (time, int(value)) for _, time, value in RECORD.iter_unpack(outcome.folded)
        ]
        if outcome.chunks:
            self.notes |= outcome.notes

    @rule()
    def receiver_dies(self) -> None:
        """And starts again with what is on disk."""
        self.began_ms = self.now_ms
        self.pipeline.replicas = self.new_replicas()
        self.pipeline.forget_series()

    @rule(name=st.sampled_from(NAMES))
    def replica_dies(self, name: str) -> None:
        """With all that it kept."""
        self.queues[name].clear()

    @invariant()
    def what_counts_is_one_counter(self) -> None:
        """Its times rise, so nothing is doubled; its values never fall, so no delta is of a reset."""
        counted = getattr(self, "counted", [])
        for before, after in pairwise(counted):
            assert before[0] < after[0]
            assert before[1] <= after[1]


ReplicasMachine.TestCase.settings = settings(
    max_examples=examples(150), stateful_step_count=60, deadline=None
)
TestReplicas = ReplicasMachine.TestCase
