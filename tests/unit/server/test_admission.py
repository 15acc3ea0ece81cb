"""What is under way is counted and bounded, and all is given back."""

from collections.abc import Callable

import pytest

from receiver.errors import Overloaded, TooLargeInFlight
from receiver.server.admission import Admission, Lease


def entered(room: Admission, give_up: Callable[[], object]) -> Lease:
    """Enter, to be told when given up."""
    lease = room.enter()
    lease.give_up = give_up
    return lease


def test_all_is_given_back_whatever_happens() -> None:
    """After an end, an error, and a lease that was given up."""
    room = Admission(2, 100)
    with room.enter() as lease:
        lease.grow(60)
        assert room.statistics().reading == 1
        lease.work()
        lease.hold(90)
        assert (room.statistics().working, room.statistics().size_bytes) == (1, 90)
    with pytest.raises(TooLargeInFlight), room.enter() as lease:
        lease.grow(101)
    found = room.statistics()
    assert (found.reading, found.working, found.size_bytes) == (0, 0, 0)


def test_requests_at_work_are_bounded_and_those_that_read_are_not() -> None:
    """A body that comes slowly takes no one's place at work."""
    room = Admission(1, 100)
    with room.enter() as slow, room.enter() as first, room.enter() as second:
        first.work()
        slow.grow(1)
        with pytest.raises(Overloaded):
            second.work()
        with pytest.raises(Overloaded):
            room.enter()


def test_what_alone_is_too_large_is_refused_for_good() -> None:
    """And nobody else is given up for it."""
    room = Admission(5, 100)
    gone: list[str] = []
    with entered(room, lambda: gone.append("other")) as other, room.enter() as alone:
        other.grow(10)
        with pytest.raises(TooLargeInFlight, match="all requests in flight together may hold 100"):
            alone.grow(101)
    assert (gone, room.statistics().size_bytes) == ([], 0)


def test_the_largest_body_that_still_comes_goes_first() -> None:
    """One at work is never given up; the one that asks is refused only if it is the largest."""
    room = Admission(5, 100)
    gone: list[str] = []
    with (
        entered(room, lambda: gone.append("work")) as work,
        entered(room, lambda: gone.append("large")) as large,
        entered(room, lambda: gone.append("small")) as small,
    ):
        work.grow(60)
        work.work()
        large.grow(25)
        small.grow(20)
        assert gone == ["large"]
        assert room.statistics().size_bytes == 80
        with pytest.raises(Overloaded):
            small.grow(30)


def test_what_fits_exactly_fits() -> None:
    """Alone, in parts, and together with others."""
    room = Admission(5, 100)
    with room.enter() as alone:
        alone.grow(60)
        alone.grow(40)
        assert (alone.size_bytes, room.statistics().size_bytes) == (100, 100)
    gone: list[str] = []
    with entered(room, lambda: gone.append("one")) as one, room.enter() as other:
        one.grow(70)
        other.grow(30)
        assert gone == []
        assert room.statistics().size_bytes == 100
    assert room.statistics().size_bytes == 0


def test_requests_at_work_are_counted_each() -> None:
    """And the refusal says how many there are."""
    room = Admission(2, 100)
    with room.enter() as one, room.enter() as other, room.enter() as third:
        one.work()
        other.work()
        assert (room.statistics().working, room.statistics().reading) == (2, 1)
        with pytest.raises(Overloaded, match="2 requests are in flight"):
            third.work()
        one.release()
        assert room.statistics().working == 1
        third.work()
    assert room.statistics().working == 0


def test_one_that_was_given_up_takes_no_room_again() -> None:
    """Bytes of it that still come are refused, though no other body is left to be given up."""
    room = Admission(5, 100)
    with room.enter() as work, room.enter() as late:
        work.grow(60)
        work.work()
        with room.enter() as other:
            late.grow(30)
            other.grow(20)
            assert late.size_bytes == 0, "it was the largest"
        with pytest.raises(Overloaded, match="requests in flight hold 100 bytes"):
            late.grow(50)
    assert room.statistics().size_bytes == 0
