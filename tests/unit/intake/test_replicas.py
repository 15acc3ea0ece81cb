"""Two replicas bring the same series: one of them counts, with and without the compiled kernel."""

from collections.abc import Mapping

import orjson
import pytest

from receiver.azure.envelope import Identity
from receiver.intake.decode import Message
from receiver.intake.election import Change
from receiver.intake.guard import CARDINALITY, SeriesLimits
from receiver.intake.metrics_json import Allowlist, Entry, Use
from receiver.intake.pipeline import Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.replicas import REPLICA, REPLICA_LIMIT, SOURCES_MAX, Replicas
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request
from receiver.rows import RECORD

EPOCH = 1_800_000_000.0
START_MS = 1_800_000_000_000
BOTH = pytest.mark.parametrize("compiled", [True, False] if IS_COMPILED else [False])
MESSAGES = pytest.mark.parametrize("message", list(Message))


class Selection(Allowlist):
    """Series named raw become items, others are folded: those with equal labels under one number."""

    def __init__(self) -> None:
        """Begin without series."""
        super().__init__([Entry("*")])
        self.numbers: dict[tuple[tuple[str, str], ...], int] = {}

    def wants(self, name: bytes) -> bool:
        """All but one."""
        return name != b"unwanted"

    def use_of(self, labels: Mapping[str, str]) -> Use:
        """By the name."""
        if labels["__name__"].startswith("raw"):
            return Use(rendered=labels)
        key = tuple(sorted(labels.items()))
        return Use(None, self.numbers.setdefault(key, len(self.numbers) + 1))


class World:
    """A pipeline that tells replicas apart, with clocks that are set by hand."""

    def __init__(
        self, *, compiled: bool = IS_COMPILED, cluster_label: str = "", most: int = 20_000
    ) -> None:
        """Begin at EPOCH."""
        self.now = 0.0
        self.changes: list[Change] = []
        self.notes: dict[str, bytes] = {}
        self.cluster_label = cluster_label
        self.replicas = self.new_replicas()
        self.replicas.load({})
        self.selection = Selection()
        self.pipeline = Pipeline(
            self.selection,
            Identity("key", "host"),
            1 << 20,
            series_limits=SeriesLimits(most, most),
            replicas=self.replicas,
            compiled=compiled,
        )

    def new_replicas(self) -> Replicas:
        """As after a start: its clock that never goes back begins anywhere."""
        return Replicas(
            "replica",
            self.cluster_label,
            30.0,
            lambda: 77.0 + self.now,
            lambda: EPOCH + self.now,
            self.changes.append,
        )

    def restart(self) -> None:
        """Forget all but what was written."""
        self.replicas = self.pipeline.replicas = self.new_replicas()
        assert self.replicas.load(self.notes) == []
        self.pipeline.forget_series()

    def take(self, raw: bytes, message: Message = Message.V1) -> Outcome:
        """Take a request, and hold its account to the ledger's sum."""
        outcome = self.pipeline.process(raw, message)
        ends = outcome.unselected + sum(outcome.dropped.values()) + outcome.folded_samples
        assert outcome.received == ends + outcome.rendered
        if outcome.chunks or outcome.folded:
            self.notes |= outcome.notes
        return outcome


def request(
    *series: tuple[dict[str, str], list[tuple[float, int]]], message: Message = Message.V1
) -> bytes:
    """Spell a request of labels and (value, time) pairs."""
    if message is Message.V1:
        made = WriteRequest()
        for labels, samples in series:
            added = made.timeseries.add()
            for name, value in labels.items():
                added.labels.add(name=name.encode(), value=value.encode())
            for number, time in samples:
                added.samples.add(value=number, timestamp=time)
        return made.SerializeToString()
    symbols = [""]
    for labels, _ in series:
        symbols += [text for pair in labels.items() for text in pair if text not in symbols]
    request = Request(symbols=[text.encode() for text in symbols])
    for labels, samples in series:
        references = [symbols.index(text) for pair in labels.items() for text in pair]
        written = request.timeseries.add(labels_refs=references)
        for number, time in samples:
            written.samples.add(value=number, timestamp=time)
    return request.SerializeToString()


def scrape(
    replica: str, time_ms: int, value: float = 1.0, message: Message = Message.V1, **labels: str
) -> bytes:
    """One scrape: a folded series, a raw one, and one that nobody wants."""
    more = {"replica": replica, **labels} if replica else labels
    names = "folded", "raw", "unwanted"
    series = [({"__name__": name, "job": "j", **more}, [(value, time_ms)]) for name in names]
    return request(*series, message=message)


def raw_times(outcome: Outcome) -> list[str]:
    """Give the times of the items."""
    return [orjson.loads(line)["time"] for line in outcome.lines]


@MESSAGES
@BOTH
def test_the_leader_counts_and_the_follower_is_dropped(message: Message, *, compiled: bool) -> None:
    """Twice, so that each series is once learnt and once known."""
    world = World(compiled=compiled)
    for second in range(3):
        leader = world.take(scrape("a", START_MS + second, message=message), message)
        follower = world.take(scrape("b", START_MS + second, message=message), message)

        assert (leader.rendered, leader.folded_samples, leader.unselected) == (1, 1, 1)
        assert dict(leader.dropped) == {}
        assert (follower.rendered, follower.folded, follower.unselected) == (0, b"", 1)
        assert dict(follower.dropped) == {REPLICA: 2}
        assert follower.written_samples == 3
    assert world.changes == [Change("", "", "a")]


@BOTH
def test_the_label_is_taken_off(*, compiled: bool) -> None:
    """So both replicas' series are one: in the items, in the fold, and for the guard."""
    world = World(compiled=compiled, most=2)
    first = world.take(scrape("a", START_MS))
    world.now = 31.0
    second = world.take(scrape("b", START_MS + 31_000))
    properties = [
        orjson.loads(outcome.lines[0])["data"]["baseData"].get("properties")
        for outcome in (first, second)
    ]
    assert CARDINALITY not in second.dropped
    assert properties[0] == properties[1]
    assert "replica" not in (properties[0] or {})
    assert first.folded[:4] == second.folded[:4] == RECORD.pack(1, 0, 0)[:4]


@BOTH
def test_the_follower_takes_over_with_what_is_newer(*, compiled: bool) -> None:
    """Newer than what the old leader brought, and the timeout: per sample, in one request too."""
    world = World(compiled=compiled)
    world.take(scrape("a", START_MS, 5.0))
    world.take(scrape("b", START_MS, 5.0))
    world.now = 31.0
    labels = {"__name__": "raw", "replica": "b"}
    times = [START_MS - 1, START_MS, START_MS + 30_000, START_MS + 30_001]

    outcome = world.take(request((labels, [(1.0, time) for time in times])))

    assert dict(outcome.dropped) == {REPLICA: 3}
    assert raw_times(outcome) == ["2027-01-15T08:00:30.001Z"]
    assert [change.after for change in world.changes] == ["a", "b"]
    late = world.take(scrape("a", START_MS + 31_000))
    assert dict(late.dropped) == {REPLICA: 2}
    assert world.take(scrape("b", START_MS + 32_000)).rendered == 1


@BOTH
def test_what_a_clock_ahead_has_kept_fakes_no_reset(*, compiled: bool) -> None:
    """Its times are later than those of the same moments by the leader's clock, its counters lower."""
    world = World(compiled=compiled)
    world.take(scrape("a", START_MS + 10_000, 1_000.0))
    world.now = 60.0
    ahead_ms = 20_000
    labels = {"__name__": "folded", "replica": "b"}
    kept = [(900.0 + 10 * n, START_MS + ahead_ms + 1_000 * n) for n in range(50)]

    outcome = world.take(request((labels, kept)))

    values = [value for _, _, value in RECORD.iter_unpack(outcome.folded)]
    assert len(values) == 29
    assert min(values) > 1_000.0, "what was scraped before the leader's last sample does not count"


@BOTH
def test_a_request_may_mix_replicas(*, compiled: bool) -> None:
    """As one through a proxy may: each series is its own replica's."""
    world = World(compiled=compiled)
    for second in range(3):
        series = [
            ({"__name__": name, "replica": replica}, [(1.0, START_MS + second)])
            for name in ("raw", "folded")
            for replica in ("b", "a")
        ]
        outcome = world.take(request(*series, ({"__name__": "raw_of_nobody"}, [(1.0, START_MS)])))

        assert (outcome.rendered, outcome.folded_samples) == (2, 1)
        assert dict(outcome.dropped) == {REPLICA: 2}
    assert world.changes == [Change("", "", "a")]


@BOTH
def test_series_without_the_label_pass(*, compiled: bool) -> None:
    """They come from a sender that has no replica; an empty label is none."""
    world = World(compiled=compiled)
    world.take(scrape("a", START_MS))
    for _ in range(2):
        assert world.take(scrape("", START_MS)).rendered == 1
        empty = {"__name__": "raw", "replica": ""}
        assert world.take(request((empty, [(1.0, START_MS)]))).rendered == 1


@BOTH
def test_clusters_have_leaders_of_their_own(*, compiled: bool) -> None:
    """And keep their label."""
    world = World(compiled=compiled, cluster_label="cluster")
    for cluster, leader, follower in (("east", "a", "b"), ("west", "b", "a")):
        first = world.take(scrape(leader, START_MS, cluster=cluster))
        assert world.take(scrape(follower, START_MS, cluster=cluster)).dropped == {REPLICA: 2}
        properties = orjson.loads(first.lines[0])["data"]["baseData"]["properties"]
        assert properties["cluster"] == cluster
    views = world.replicas.views()
    assert [(view.cluster, view.leader) for view in views] == [("east", "a"), ("west", "b")]
    assert [[each.dropped for each in view.replicas] for view in views] == [[0, 2], [2, 0]]


@BOTH
def test_staleness_markers_of_a_follower_are_its_replicas(*, compiled: bool) -> None:
    """Not a reason of their own: they are not looked at."""
    world = World(compiled=compiled)
    world.take(scrape("a", START_MS))
    for _ in range(2):
        assert world.take(scrape("b", START_MS, float("nan"))).dropped == {REPLICA: 2}
    assert world.take(scrape("a", START_MS + 1, float("nan"))).dropped == {"nan": 2}


@BOTH
def test_a_restart_keeps_leader_and_floor(*, compiled: bool) -> None:
    """Where it was short; after a long one the first that comes leads, behind what was brought."""
    world = World(compiled=compiled)
    world.take(scrape("a", START_MS))
    world.now = 10.0
    world.restart()
    assert world.take(scrape("b", START_MS + 10_000)).dropped == {REPLICA: 2}
    world.take(scrape("a", START_MS + 11_000))
    world.now = 60.0
    world.restart()

    labels = {"__name__": "raw", "replica": "b"}
    backlog = [(1.0, START_MS + 1000 * second) for second in range(60)]
    outcome = world.take(request((labels, backlog)))

    assert outcome.dropped == {REPLICA: 42}  # up to 11 s, and the timeout
    world.restart()
    assert world.take(request((labels, backlog))).dropped == {REPLICA: 42}
    (view,) = world.replicas.views()
    assert (view.leader, view.changes) == ("b", 1)


def test_notes_that_cannot_be_read_are_named_and_left_out() -> None:
    """The rest counts."""
    world = World()
    world.take(scrape("a", START_MS))
    fresh = world.new_replicas()

    notes = world.notes | {"replicas/x": b"{", "replicas/y": b"{}", "other": b"?"}

    assert fresh.load(notes) == ["replicas/x", "replicas/y"]
    assert [view.leader for view in fresh.views()] == ["a"]


@BOTH
def test_invented_replicas_are_bounded(*, compiled: bool) -> None:
    """One more is dropped with a reason of its own, until others have been silent for an hour."""
    world = World(compiled=compiled, cluster_label="cluster")
    world.take(scrape("a", START_MS, cluster="one"))
    for name in ("b", "c", *map(str, range(SOURCES_MAX - 3))):
        world.take(scrape(name, START_MS, cluster="two"))
    assert world.take(scrape("d", START_MS, cluster="two")).dropped == {REPLICA_LIMIT: 2}
    assert world.take(scrape("x" * 1025, START_MS)).dropped == {REPLICA_LIMIT: 2}
    assert world.take(scrape("c", START_MS, cluster="two")).dropped == {REPLICA: 2}
    world.pipeline.recount_if_due(world.now)
    assert world.take(scrape("d", START_MS, cluster="two")).dropped == {REPLICA_LIMIT: 2}

    world.now = 3700.0
    world.take(scrape("b", START_MS + 3_700_000, cluster="two"))
    world.pipeline.recount_if_due(world.now)

    assert world.take(scrape("d", START_MS, cluster="two")).dropped == {REPLICA: 2}
    assert [view.cluster for view in world.replicas.views()] == ["two"]
    world.take(scrape("b", START_MS + 3_701_000, cluster="two"))
    assert world.notes["replicas/one"] == b""
