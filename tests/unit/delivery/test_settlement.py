"""A verdict on a batch becomes what is written down: each item once, and the words of those rejected."""

import pytest

from receiver.azure.policy import Action
from receiver.azure.rejections import UNEXPLAINED
from receiver.azure.verdict import Rejection, Verdict
from receiver.delivery.settlement import DEAD_LETTERS_PER_BATCH, halves, settlement
from receiver.errors import Damaged
from receiver.outbox.gzip_body import compress
from receiver.outbox.values import Batch, DeadLetter, Settlement

TOO_OLD = "Field 'time' on Envelope is older than the allowed min date"


def batch(items: int) -> Batch:
    """Make a batch of so many items."""
    return Batch(7, compress([b"%d\n" % number for number in range(items)]), items, 1, 2, "key")


def test_all_that_is_accepted_needs_no_body() -> None:
    """It is not unpacked: most batches end like this."""
    spoilt = Batch(7, b"no gzip", 3, 1, 2, "key")
    assert settlement(spoilt, Verdict(Action.SETTLE, accepted=3)) == Settlement(
        spoilt, accepted=3, dead_letters=[]
    )
    for verdict in (
        Verdict(Action.SETTLE, retry=(0,)),
        Verdict(Action.SETTLE, rejected=(Rejection(0, 400, "no"),)),
    ):
        with pytest.raises(Damaged):
            settlement(spoilt, verdict)


def test_each_item_of_a_206_has_one_end() -> None:
    """Those to be sent again keep their order; too old is expired, and what is rejected keeps its words."""
    sent = batch(6)
    verdict = Verdict(
        Action.SETTLE,
        accepted=1,
        retry=(1, 4),
        rejected=(Rejection(0, 400, "bad"), Rejection(2, 400, TOO_OLD), Rejection(5, 404, "bad")),
    )
    assert verdict.rejected[1].reason == "too_old"
    outcome = settlement(sent, verdict)
    assert (outcome.batch, outcome.accepted, outcome.expired) == (sent, 1, 1)
    assert dict(outcome.rejected) == {verdict.rejected[0].reason: 2}
    assert list(outcome.again) == [[b"1\n", b"4\n"]]
    assert list(outcome.dead_letters) == [
        DeadLetter(400, "bad", "0"),
        DeadLetter(400, TOO_OLD, "2"),
        DeadLetter(404, "bad", "5"),
    ]
    assert sum(map(len, outcome.again)) + 1 + 1 + 2 == sent.items


@pytest.mark.parametrize(
    ("retry", "parts"),
    [
        ((0, 1, 2), [[b"0\n"], [b"1\n", b"2\n"]]),
        ((0, 3), [[b"0\n"], [b"3\n"]]),
        ((2,), [[b"2\n"]]),
        ((), []),
    ],
)
def test_what_goes_back_may_go_in_halves(retry: tuple[int, ...], parts: list[list[bytes]]) -> None:
    """None of them empty."""
    verdict = Verdict(Action.SETTLE, accepted=4 - len(retry), retry=retry)
    assert list(settlement(batch(4), verdict, divide=True).again) == parts
    whole = [[line for part in parts for line in part]] if parts else []
    assert list(settlement(batch(4), verdict).again) == whole


def test_a_batch_in_halves_is_the_same_items() -> None:
    """And nothing of it has its end."""
    assert halves(batch(3)) == Settlement(batch(3), again=[[b"0\n"], [b"1\n", b"2\n"]])
    assert halves(batch(1)).again == [[b"0\n"]]


def test_the_items_that_are_kept_are_bounded() -> None:
    """The first fifty of a batch; all of them are counted."""
    rejected = tuple(Rejection(index, 400, "bad") for index in range(60))
    outcome = settlement(batch(60), Verdict(Action.SETTLE, rejected=rejected))
    assert DEAD_LETTERS_PER_BATCH == 50
    assert [letter.item for letter in outcome.dead_letters] == [str(n) for n in range(50)]
    assert sum(outcome.rejected.values()) == 60


def test_unnamed_items_are_counted_and_reported() -> None:
    """The service accepted fewer than it was sent, and did not say which it left out."""
    outcome = settlement(batch(9), Verdict(Action.SETTLE, accepted=6, unexplained=3))
    assert dict(outcome.rejected) == {UNEXPLAINED: 3}
    [letter] = outcome.dead_letters
    assert letter == DeadLetter(0, "3 of 9 items not accepted, without saying which", "")
