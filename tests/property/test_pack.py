"""Batches conserve items and their order, and keep within their bounds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from receiver.batch import BATCH_BYTES, BATCH_ITEMS, Submission, pack, unpack

spans = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(sorted)
shapes = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from([1, 2, 300, 999, 1000]), st.sampled_from([8, 60, 5000, 65536, 600_000])),
            max_size=2,
        ),
        spans,
    ),
    max_size=5,
)  # fmt: skip


def submissions(shape: list[tuple[list[tuple[int, int]], list[int]]]) -> list[Submission]:
    """Make submissions of runs of lines: so many, so long; each line tells where it belongs."""
    made = []
    for number, (runs, (oldest, newest)) in enumerate(shape):
        lines = [
            b"%d/%d" % (number, place) + b" " * (size - 10) + b"\n"
            for place, size in enumerate(
                size for count, size in runs for _ in range(min(count, 1_500_000 // size))
            )
        ]
        made.append(Submission(lines, oldest, newest, {}))
    return made


@given(shapes)
def test_batches_conserve_items_and_order_within_bounds(
    shape: list[tuple[list[tuple[int, int]], list[int]]],
) -> None:
    """Nothing lost, doubled or moved; no batch over a bound, none that two neighbours could have shared."""
    made = submissions(shape)

    parcels = list(pack(made))

    bodies = [unpack(parcel.body) for parcel in parcels]
    assert [line for body in bodies for line in body] == [
        line for each in made for line in each.lines
    ]
    for parcel, body in zip(parcels, bodies, strict=True):
        assert 1 <= parcel.items == len(body) <= BATCH_ITEMS
        assert sum(map(len, body)) <= BATCH_BYTES
    for before, after in pairwise(bodies):
        full = len(before) == BATCH_ITEMS
        assert full or sum(map(len, before)) + len(after[0]) > BATCH_BYTES


@given(shapes)
def test_a_batch_spans_exactly_the_requests_in_it(
    shape: list[tuple[list[tuple[int, int]], list[int]]],
) -> None:
    """Expiry and the age that is shown follow from these times."""
    made = submissions(shape)

    for parcel in pack(made):
        numbers = {int(line.split(b"/")[0]) for line in unpack(parcel.body)}
        assert parcel.oldest_ms == min(made[number].oldest_ms for number in numbers)
        assert parcel.newest_ms == max(made[number].newest_ms for number in numbers)
