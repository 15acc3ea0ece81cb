"""Whose turn it is, asked of the picker itself; what delivery makes of it is in test_sender.py."""

from receiver.azure.policy import Action
from receiver.delivery.backoff import Backoff
from receiver.delivery.picker import LINE_LIMIT, Picked, Picker, Stubborn
from receiver.outbox.batch import Batch
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

    def ask(self, room: int, action: Action | None = None) -> Picked:
        return self.picker.question(room, action)(self.outbox)  # type: ignore[arg-type]

    def pick(self, room: int, action: Action | None = None) -> list[int]:
        return [batch.id for batch in self.picker.chosen(self.ask(room, action))]

    def refuse(self, number: int, *, alone: bool = False) -> bool:
        return self.picker.refused(self.batch(number), "why", "hint", alone=alone)


def test_none_that_is_under_way_is_picked_again() -> None:
    """Until it has ended."""
    desk = Desk(3)
    desk.picker.begin(desk.batch(1))
    assert desk.pick(4) == [2, 3]
    assert desk.picker.under_way == 1
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
    desk.picker.line.failed(Action.RETRY, desk.now, desk.now)
    assert desk.pick(4) == [2]
    assert desk.picker.wait_seconds(desk.now) == 1.0
    desk.now += 1.0
    assert desk.picker.wait_seconds(desk.now) == 0.0
    assert desk.pick(4) == [1, 2]


def test_what_is_set_back_while_the_outbox_is_asked_is_not_sent_at_once() -> None:
    """Parts of a batch come into the outbox before the picker knows that they go back."""
    desk = Desk(1)
    picked = desk.ask(4)
    parts = {desk.outbox.add([line(8)], 0, 0): 1, desk.outbox.add([line(9)], 0, 0): 1}
    picked = Picked((*picked.batches, *(desk.batch(number) for number in parts)), picked.set_back)
    desk.picker.put_back(desk.batch(1), parts, first=False)
    assert [batch.id for batch in desk.picker.chosen(picked)] == [1]


def test_one_that_is_gone_from_the_outbox_holds_up_nobody() -> None:
    """It expired while the outbox was full: the next one of the line has the turn."""
    desk = Desk(2)
    desk.refuse(1)
    desk.refuse(2)
    del desk.outbox.batches[1]
    assert desk.ask(4).gone == 1
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
    assert desk.picker.stubborn == Stubborn()
    assert not desk.refuse(1, alone=True)
    assert not desk.refuse(1, alone=True), "a single item cannot be divided"
    assert desk.picker.stubborn == Stubborn(1, 1, "why", "hint")
    desk.picker.settled(desk.batch(1))
    assert desk.picker.stubborn == Stubborn()


def test_the_line_is_bounded() -> None:
    """The one that waited longest counts as not tried."""
    desk = Desk(1)
    for number in range(2, LINE_LIMIT + 3):
        desk.picker.refused(Batch(number, b"", 1, 0, 0, "key"), "", "", alone=False)
    assert not desk.picker.is_set_back(Batch(2, b"", 1, 0, 0, "key"))
    assert desk.picker.is_set_back(Batch(LINE_LIMIT + 2, b"", 1, 0, 0, "key"))
