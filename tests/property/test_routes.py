"""Whatever the routes and the series: each sample is in the lane of its route alone, or has its reason."""

import json
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from receiver.azure.envelope import Identity
from receiver.intake.decode import Message
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.routes import UNROUTED, Routing
from receiver.intake.routes_json import parse
from receiver.outbox.gzip_body import lines_of
from tests.golden import make

OWN_KEY = "00000000-1111-1111-1111-111111111111"
TIME_MS = 1_790_000_000_000
LABELS = ("model", "job", "team")
texts = st.text("ab_", max_size=3)
globs = st.lists(st.sampled_from("ab_*?"), max_size=4).map("".join)
matches = st.dictionaries(
    st.sampled_from([*LABELS, "__name__"]), st.lists(globs, min_size=1, max_size=2), max_size=2
)
series = st.tuples(
    st.sampled_from(["nv_a", "nv_b", "other"]),
    st.dictionaries(st.sampled_from(LABELS), texts, max_size=3),
    st.lists(
        st.tuples(st.floats(width=32), st.integers(TIME_MS, TIME_MS + 2)), min_size=1, max_size=3
    ),
)


def key_of(number: int) -> str:
    """Make a route's key; that of 0 is the receiver's own."""
    return f"{number:08d}-0000-0000-0000-000000000000" if number else OWN_KEY


def routing_of(drawn: list[dict[str, list[str]]], *, drops: bool) -> Routing:
    """Read the routes that can stand in a file."""
    routes: list[dict[str, object]] = []
    for number, match in enumerate(drawn):
        if match not in [each["match"] for each in routes]:
            routes.append({"name": f"r{number}", "match": match, "connection_string_file": "x"})
    routes.sort(key=lambda route: not route["match"])  # one that takes all is the last
    text = json.dumps({"routes": routes, "unmatched": "drop" if drops else "default"})
    read = parse(text, "routes.json")
    keys = tuple(key_of(number) for number in range(1, len(routes) + 1))
    return Routing(read.routes, keys, read.drops_unmatched)


def expected(routing: Routing, name: str, labels: dict[str, str]) -> int | None:
    """Say by another way which route a series takes; None for none."""
    whole = {**labels, "__name__": name}
    for number, (_, match) in enumerate(routing.matchers, 1):
        fits = [any(fnmatchcase(whole.get(label, ""), glob) for glob in any_of) for label, any_of in match]  # fmt: skip
        if all(fits):
            return number
    return None if routing.drops_unmatched else 0


def spelt(outcome: Outcome) -> dict[str, list[bytes]]:
    """Give each lane's lines."""
    lines: dict[str, list[bytes]] = {}
    for chunk in outcome.chunks:
        lines.setdefault(chunk.lane.name, []).extend(lines_of(chunk, chunk.items))
    return lines


@given(st.lists(matches, min_size=1, max_size=5), st.booleans(), st.lists(series, max_size=6))
def test_each_sample_takes_one_route(
    drawn: list[dict[str, list[str]]],
    drops: bool,  # noqa: FBT001 - drawn
    sent: list[tuple[str, dict[str, str], list[tuple[float, int]]]],
) -> None:
    """The first that fits, by any reader, whether the series is known or not; and all add up."""
    routing = routing_of(drawn, drops=drops)
    raw = make.v1([([("__name__", name), *sorted(labels.items())], samples) for name, labels, samples in sent])  # fmt: skip
    if not sent:
        return
    pipelines = [
        Pipeline(Allowlist([Entry("nv_*")]), Identity(OWN_KEY, "host"), 1 << 20, routing=routing, compiled=compiled)
        for compiled in sorted({False, IS_COMPILED})
    ]  # fmt: skip
    outcomes = [pipeline.process(raw, Message.V1) for pipeline in pipelines for _ in range(2)]
    finite = 0
    unrouted = 0
    by_key: dict[str, int] = {}
    for name, labels, samples in sent:
        count = sum(value - value == 0 for value, _ in samples)
        if name == "other":
            continue
        number = expected(routing, name, labels)
        if number is None:
            unrouted += count
        else:
            finite += count
            by_key[key_of(number)] = by_key.get(key_of(number), 0) + count
    for outcome in outcomes:
        assert spelt(outcome) == spelt(outcomes[0])
        assert outcome.dropped.get(UNROUTED, 0) == unrouted
        assert outcome.rendered == finite
        found: dict[str, int] = {}
        for chunk in outcome.chunks:
            keys = {json.loads(line)["iKey"] for line in lines_of(chunk, chunk.items)}
            assert keys == {chunk.lane.destination or OWN_KEY}
            found[keys.pop()] = found.get(chunk.lane.destination or OWN_KEY, 0) + chunk.items
        assert found == {key: count for key, count in by_key.items() if count}
        ends = outcome.unselected + sum(outcome.dropped.values()) + outcome.rendered
        assert outcome.received == ends
