"""Numbers of series: the same labels the same number, never two, never without bound."""

import pytest

from receiver.errors import NotCommitted
from receiver.fold.registry import SERIES_OVERHEAD_BYTES, Registry
from receiver.fold.selection import Selection
from receiver.intake.metrics_json import FOLD_FULL, WOULD_JOIN, Use
from tests.unit.fold.folding import listed


def loaded(max_bytes: int = 1 << 20) -> Registry:
    """Make one that knows its disk, which is empty."""
    registry = Registry(max_bytes)
    registry.load([], 0)
    return registry


def test_equal_labels_have_one_number_whatever_their_order() -> None:
    """And other labels have another."""
    registry = loaded()
    first = registry.number_of({"__name__": "a", "x": "1"})

    assert registry.number_of({"x": "1", "__name__": "a"}) == first
    assert registry.number_of({"__name__": "a", "x": "2"}) == first + 1
    assert [number for number, _ in registry.unsaved()] == [first, first + 1]


def test_no_number_before_the_disk_is_known() -> None:
    """Else two series could have one; the sender comes again."""
    with pytest.raises(NotCommitted):
        Registry(1 << 20).number_of({"__name__": "a"})


def test_numbers_continue_behind_those_of_the_disk() -> None:
    """A number that was ever written is not given to another series."""
    registry = loaded()
    registry.number_of({"__name__": "a"})
    [(_, text)] = registry.unsaved()
    restarted = Registry(1 << 20)
    restarted.load([(1, text)], 7)

    assert restarted.number_of({"__name__": "a"}) == 1
    assert restarted.number_of({"__name__": "b"}) == 8


def test_a_disk_that_was_replaced_has_numbers_given_anew() -> None:
    """What the kernel still knows by an old number belongs to nobody then."""
    registry = loaded()
    registry.number_of({"__name__": "a"})
    registry.saved(1)

    assert not registry.load([], 0)
    assert registry.number_of({"__name__": "a"}) == 2


def test_series_are_bounded_in_bytes_and_room_comes_back() -> None:
    """Past the bound there is no number; what is forgotten makes room."""
    registry = loaded(2 * SERIES_OVERHEAD_BYTES + 100)
    numbers = [registry.number_of({"__name__": name}) for name in "abc"]
    assert numbers == [1, 2, 0]

    registry.forget(registry.unsaved()[:1])
    assert registry.number_of({"__name__": "c"}) == 3


def test_a_series_may_be_raw_and_folded_or_neither() -> None:
    """What has no room in the fold is dropped, unless it is raw too."""
    full, roomy = loaded(0), loaded()
    wanted = listed("a", {"name": "a", "as": "delta", "rename": "b"}, {"name": "c", "as": "delta"})
    a, c = {"__name__": "a"}, {"__name__": "c"}

    assert Selection(wanted, roomy).use_of(a) == Use(a, 1)
    assert Selection(wanted, roomy).use_of(c) == Use(None, 2)
    assert Selection(wanted, full).use_of(a) == Use(a)
    assert Selection(wanted, full).use_of(c) == Use(dropped=FOLD_FULL)


def test_raw_series_that_would_look_alike_are_refused() -> None:
    """`keep` and `drop` do not join samples: the second series is left out, the first goes on."""
    selection = Selection(listed({"name": "a", "drop": ["pod"], "rename": "b"}), loaded())
    first, second = ({"__name__": "a", "model": "m", "pod": pod} for pod in "12")

    kept = Use({"__name__": "b", "model": "m"})
    assert selection.use_of(first) == kept
    assert selection.use_of(second) == Use(dropped=WOULD_JOIN)
    assert selection.use_of(first) == kept
