"""The hour's points, and flows that add up."""

from receiver.ledger import Ledger
from receiver.status.history import POINTS, History, Point


def point(at: float, received: int, **changed: int) -> Point:
    """Make a point at which half is not selected, one dropped, and the rest accepted or waiting."""
    dropped, unselected = {"nan": 1} if received else {}, received // 2
    pending = changed.get("pending", 0)
    accepted = received - unselected - sum(dropped.values()) - pending
    ledger = Ledger(
        received,
        unselected,
        dropped,
        rendered=accepted + pending,
        accepted=accepted,
        pending=pending,
    )
    return Point(at, ledger, replies={"204": received})


def test_flow_adds_up() -> None:
    """Whatever the window, received and committed are the sums of their ends."""
    history = History()
    for step in range(13):
        history.add(point(10.0 * step, 40 * step, pending=step))
    for seconds in (0, 5, 10, 60, 900):
        flow = history.flow(point(125.0, 600, pending=30), seconds)
        assert flow.ledger.adds_up
    assert history.flow(point(125.0, 600), 60).seconds == 65
    assert history.flow(point(125.0, 600), 900).ledger.received == 600


def test_first_received_is_when_it_grew() -> None:
    """A ledger from before the restart is not taken for something received now."""
    history = History()
    history.add(point(0.0, 500))
    history.add(point(10.0, 500))
    assert history.first_received_at == 0
    history.add(point(20.0, 501))
    history.add(point(30.0, 509))
    assert history.first_received_at == 20


def test_new_ledger_begins_a_new_hour() -> None:
    """When the outbox was made anew no rate is negative."""
    history = History()
    for at, received in ((0.0, 500), (10.0, 540), (20.0, 3), (30.0, 9)):
        history.add(point(at, received))
    assert history.columns(0)["received"] == [3, 9]
    assert history.flow(point(40.0, 12), 600).ledger.received == 9


def test_hour_is_bounded_and_continued() -> None:
    """An hour of points is kept, and a viewer asks for what is new."""
    history = History()
    for step in range(POINTS + 50):
        history.add(point(10.0 * step, step))
    assert len(history.columns(0)["at"]) == POINTS
    assert history.columns(10.0 * (POINTS + 47))["received"] == [POINTS + 48, POINTS + 49]


def test_a_viewer_gets_each_point_once() -> None:
    """Times are given to a tenth of a second, and it is such a time that comes back."""
    history = History()
    history.add(point(10.04, 1))
    (at,) = history.columns(0)["at"]
    assert history.columns(at)["at"] == []


def test_a_pace_is_steady_where_scrapes_are() -> None:
    """144 samples each 15 s are 576 a minute, whenever one looks."""
    history = History()
    for step in range(30):
        at = 10.0 * step
        scrapes = int(at // 15)
        history.add(
            Point(at, Ledger(144 * scrapes, rendered=144 * scrapes), arrived_at=15.0 * scrapes)
        )
    for late in range(10):
        scrapes = int((290 + late) // 15)
        now = Point(290.0 + late, Ledger(144 * scrapes), arrived_at=15.0 * scrapes)
        flow = history.flow(now, 130)
        assert flow.a_minute(flow.ledger.received) == 576


def test_the_interval_is_that_at_which_samples_come() -> None:
    """The selected may come more seldom than all do; before two came it is not known."""
    history = History()
    assert history.interval(selected=False) == 0
    for step in range(100):
        at = 10.0 * step
        selected = int(at // 240)
        history.add(Point(at, Ledger(step + selected, unselected=step)))
    assert history.interval(selected=False) == 10
    assert history.interval(selected=True) == 240
