"""Whose turn it is, asked of the picker itself; what delivery makes of it is in test_sender.py."""

from collections.abc import Collection

import pytest

from receiver.azure.policy import Action
from receiver.delivery.backoff import Backoff
from receiver.delivery.picker import (
    FRESH_SECONDS,
    QUEUE_LIMIT,
    SPLIT_AFTER,
    Picked,
    Picker,
    RefusedAlone,
    Wish,
    pick,
)
from receiver.outbox.values import Batch
from tests.unit.delivery.bench import FakeOutbox, line


class Desk:
    """A picker, an outbox of so many batches, and a clock."""

    def __init__(self, batches: int) -> None:
        self.now = 100.0
        self.picker = Picker(lambda: self.now, Backoff(lambda: 0.5))
        self.outbox = FakeOutbox()
        for number in range(batches):
            self.outbox.add([line(number)], 0, 0)

    def batch(self, number: int) -> Batch:
        return self.outbox.batches[number]

    def ask(self, room: int, action: Action | None = None) -> tuple[Wish, Picked]:
        wish = self.picker.wish(room, action)
        return wish, pick(self.outbox, wish)  # type: ignore[arg-type]

    def pick(self, room: int, action: Action | None = None) -> list[int]:
        return [batch.id for batch in self.picker.chosen(*self.ask(room, action))]

    def refuse(self, number: int, *, alone: bool = False) -> bool:
        return self.picker.refused(self.batch(number), "why", "hint", alone=alone)


def test_no_batch_in_flight_is_picked_again() -> None:
    """Until it has ended."""
    desk = Desk(3)
    desk.picker.begin(desk.batch(1))
    assert desk.pick(4) == [2, 3]
    assert desk.picker.in_flight == 1
    desk.picker.end(desk.batch(1))
    assert desk.pick(4) == [1, 2, 3]


def test_what_was_refused_has_one_place_beside_the_others() -> None:
    """One of the line at a time; alone where room is for one it takes turns."""
    desk = Desk(5)
    desk.refuse(1)
    desk.refuse(2)
    assert desk.pick(3) == [1, 3, 4]
    desk.picker.begin(desk.batch(1))
    assert desk.pick(3) == [3, 4, 5], "one of the line is under way"
    desk.picker.end(desk.batch(1))
    assert desk.pick(1) == [3], "the line had the last turn"
    desk.picker.begin(desk.batch(3))
    desk.picker.end(desk.batch(3))
    assert desk.pick(1) == [1]


def test_while_the_line_waits_the_others_go() -> None:
    """And when nothing else is there the picker says how long."""
    desk = Desk(2)
    desk.refuse(1)
    desk.picker.backoff.failed(Action.RETRY, desk.now, desk.now)
    assert desk.pick(4) == [2]
    assert desk.picker.wait_seconds(desk.now) == 1.0
    desk.now += 1.0
    assert desk.picker.wait_seconds(desk.now) == 0.0
    assert desk.pick(4) == [1, 2]


def test_what_is_set_back_while_the_outbox_is_asked_is_not_sent_at_once() -> None:
    """Parts of a batch come into the outbox before the picker knows that they go back."""
    desk = Desk(1)
    wish, picked = desk.ask(4)
    parts = {desk.outbox.add([line(8)], 0, 0): 1, desk.outbox.add([line(9)], 0, 0): 1}
    picked = Picked((*picked.batches, *(desk.batch(number) for number in parts)))
    desk.picker.set_back_parts(desk.batch(1), parts, first=False)
    assert [batch.id for batch in desk.picker.chosen(wish, picked)] == [1]


def test_one_that_is_gone_from_the_outbox_delays_no_other() -> None:
    """It expired while the outbox was full: the next one of the line has the turn."""
    desk = Desk(2)
    desk.refuse(1)
    desk.refuse(2)
    del desk.outbox.batches[1]
    assert desk.ask(4)[1].gone
    assert desk.pick(4) == []
    assert desk.pick(4) == [2]


def test_a_quota_is_probed_with_the_smallest_though_it_is_set_back() -> None:
    """Whatever was refused before."""
    desk = Desk(3)
    for number in (1, 2, 3):
        desk.refuse(number)
    [number] = desk.pick(1, Action.QUOTA)
    assert number == min((1, 2, 3), key=lambda each: len(desk.batch(each).body))


def test_stubborn_is_what_is_refused_while_others_are_accepted() -> None:
    """The latest reason is shown; who is settled is forgotten."""
    desk = Desk(2)
    desk.refuse(1)
    assert desk.picker.refused_alone == RefusedAlone()
    assert not desk.refuse(1, alone=True)
    assert not desk.refuse(1, alone=True), "a single item cannot be divided"
    assert desk.picker.refused_alone == RefusedAlone(1, 1, "why", "hint")
    desk.picker.settled(desk.batch(1))
    assert desk.picker.refused_alone == RefusedAlone()


def test_the_line_is_bounded() -> None:
    """The one that waited longest counts as not tried."""
    desk = Desk(1)
    for number in range(2, QUEUE_LIMIT + 3):
        desk.picker.refused(Batch(number, b"", 1, 0, 0, "key"), "", "", alone=False)
    assert not desk.picker.is_set_back(Batch(2, b"", 1, 0, 0, "key"))
    assert desk.picker.is_set_back(Batch(3, b"", 1, 0, 0, "key")), "and no other one"
    assert QUEUE_LIMIT == 5000
    assert desk.picker.is_set_back(Batch(QUEUE_LIMIT + 2, b"", 1, 0, 0, "key"))


def test_the_second_refusal_beside_others_divides_a_batch() -> None:
    """One may be chance; two items are enough to be divided, and those that are not refused alone do not count."""
    desk = Desk(0)
    number = desk.outbox.add([line(1), line(2)], 0, 0)
    assert desk.refuse(number) is False
    assert desk.refuse(number, alone=True) is False
    assert desk.refuse(number, alone=True) is True
    assert SPLIT_AFTER == 2


def test_a_batch_that_is_refused_again_goes_behind_the_others_of_the_line() -> None:
    """So that each of them has its turn."""
    desk = Desk(3)
    for number in (1, 2, 3, 1):
        desk.refuse(number)
    turns = []
    for _ in range(3):
        number = desk.pick(1)[0]
        turns.append(number)
        desk.picker.begin(desk.batch(number))
        desk.picker.end(desk.batch(number))
        desk.refuse(number)
    assert turns == [2, 3, 1]


def test_the_line_begins_with_a_turn() -> None:
    """Before anything was sent it is not the others' turn already."""
    desk = Desk(2)
    desk.refuse(1)
    assert desk.pick(1) == [1]


def test_with_room_for_two_one_of_the_line_goes_along() -> None:
    """Though it had the last turn."""
    desk = Desk(3)
    desk.refuse(1)
    desk.picker.begin(desk.batch(1))
    desk.picker.end(desk.batch(1))
    assert desk.pick(2) == [1, 2]


def test_an_empty_line_waits_for_nothing() -> None:
    """Whatever its back-off says: what it was about is gone."""
    desk = Desk(1)
    desk.refuse(1)
    desk.picker.backoff.failed(Action.RETRY, desk.now, desk.now)
    desk.picker.settled(desk.batch(1))
    assert desk.picker.wait_seconds(desk.now) == 0.0


@pytest.mark.parametrize(("first", "turn"), [(True, 10), (False, 2)])
def test_halves_have_the_next_turn_and_other_parts_the_last(*, first: bool, turn: int) -> None:
    """What is refused is found in a few tries; what is taken later waits behind the others."""
    desk = Desk(20)
    for number in (1, 2):
        desk.refuse(number, alone=True)
    desk.picker.begin(desk.batch(1))
    desk.picker.end(desk.batch(1))
    desk.picker.set_back_parts(desk.batch(1), {10: 3, 11: 4}, first=first)
    assert not desk.picker.is_set_back(desk.batch(1)), "it is settled"
    assert desk.picker.refused_alone == RefusedAlone(3, 8, "why", "hint"), "they are what it was"
    assert desk.pick(2)[0] == turn
    assert (desk.pick(1) == [turn]) is first, "at once, though one of the line had the last turn"


class Asked(FakeOutbox):
    """An outbox that notes from which batch on those of the last minute are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.fresh_from: list[int] = []
        self.looks = 0

    def next_batches(
        self, busy: Collection[int], fresh_from: int, most: int, lane: str
    ) -> list[Batch]:
        self.fresh_from.append(fresh_from)
        return super().next_batches(busy, fresh_from, most, lane)

    def newest_id(self) -> int:
        self.looks += 1
        return super().newest_id()


def test_the_last_minute_is_a_minute() -> None:
    """To a twelfth of it, which is how often the outbox is asked for its newest number."""
    desk = Desk(0)
    desk.outbox = outbox = Asked()
    assert FRESH_SECONDS == 60
    for _ in range(50):
        outbox.add([line(0)], 0, 0)
    desk.pick(1)
    assert outbox.fresh_from[0] > 50, "what waits at the start is not of the last minute"
    for second in range(1, 400):
        desk.now += 1
        newest = outbox.add([line(0)], 0, 0)
        desk.pick(1)
        assert outbox.fresh_from[-1] <= max(newest - 60, 50) + 1, "all of the last minute is fresh"
        assert outbox.fresh_from[-1] >= newest - 66, f"and little else, at {second}"
    assert outbox.looks <= 1 + 400 / 5
    assert len(desk.picker._newest_ids) <= 14
