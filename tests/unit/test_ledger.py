"""The ledger is ordered, and adds up or says that it does not."""

from dataclasses import fields, replace

import pytest

from receiver.ledger import WORDS, Ledger, Totals, read_ledger

LEDGER = Ledger(
    received=100,
    unselected=40,
    dropped={"nan": 3, "stale": 2},
    folded=11,
    rendered=44,
    flushed=6,
    accepted=25,
    rejected={"other": 1, "too_long": 4},
    expired=5,
    pending=15,
)


def test_every_word_is_counted() -> None:
    """The list of words is the list of a ledger's fields, in the order of the flow."""
    assert tuple(column.name for column in fields(Ledger)) == WORDS


def test_the_outbox_s_totals_become_the_ledger() -> None:
    """Reasons by name; what is nought is not shown."""
    totals: Totals = {
        ("received", ""): 100,
        ("unselected", ""): 40,
        ("dropped", "stale"): 2,
        ("dropped", "nan"): 3,
        ("dropped", "infinite"): 0,
        ("folded", ""): 11,
        ("rendered", ""): 44,
        ("flushed", ""): 6,
        ("accepted", ""): 25,
        ("rejected", "too_long"): 4,
        ("rejected", "other"): 1,
        ("expired", ""): 5,
        ("pending", ""): 15,
    }

    ledger = read_ledger(totals)

    assert ledger == LEDGER
    assert list(ledger.dropped) == ["nan", "stale"]
    assert ledger.adds_up


def test_an_empty_outbox_has_an_empty_ledger() -> None:
    """And it adds up."""
    assert read_ledger({}) == Ledger()
    assert read_ledger({}).adds_up


@pytest.mark.parametrize("field", sorted(set(WORDS) - {"dropped", "rejected"}))
def test_one_sample_too_many_or_few_is_seen(field: str) -> None:
    """Each part of the sum counts."""
    for off in (-1, 1):
        assert not replace(LEDGER, **{field: getattr(LEDGER, field) + off}).adds_up
    assert not replace(LEDGER, dropped={"nan": 6}).adds_up
    assert not replace(LEDGER, rejected={"other": 4}).adds_up


def test_the_difference_of_two_is_what_went_on_between() -> None:
    """By word and by reason; what waits may be less."""
    later = replace(
        LEDGER,
        received=110,
        folded=15,
        rendered=50,
        rejected={"other": 3, "too_long": 4},
        pending=9,
    )
    assert later - LEDGER == Ledger(
        received=10, folded=4, rendered=6, rejected={"other": 2}, pending=-6
    )
    assert (later - LEDGER).committed == 10
    assert later.columns()["rejected"] == 7
