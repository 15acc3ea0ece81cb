"""Delivery against a service that answers what each test says, on a clock that jumps."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from receiver.azure.policy import Action
from receiver.delivery.http_connection import Answer
from receiver.delivery.picker import Picked
from receiver.delivery.sender import DISK_RETRY_SECONDS
from receiver.errors import Damaged, Unreachable
from receiver.outbox.values import Batch
from tests.golden.answers import ROWS, SERVICE, Row
from tests.unit.delivery.bench import EPOCH, POISON, Bench, Said, accepted, line, own
from tests.unit.delivery.jumping import run

PAGE = b"<html>Sign in</html>"
HOUR = 3600
SET_BACK = "a batch is refused while others are accepted"

REFUSALS: dict[str, Callable[[list[bytes]], Said]] = {
    "200 with a page": lambda _: Answer(200, {}, PAGE),
    "200 and OK": lambda _: Answer(200, {}, b"OK"),
    "204": lambda _: Answer(204, {}, b""),
    "206 that cannot be read": lambda _: Answer(206, {}, b""),
    "206 with a page": lambda _: Answer(206, {}, PAGE),
    "206, all of them later": lambda lines: own(206, len(lines), dict.fromkeys(range(len(lines)), (500, "busy"))),
    "400 with a page": lambda _: Answer(400, {}, PAGE),
    "400 and nothing": lambda _: Answer(400, {}, b""),
    "400 about the configuration": lambda lines: own(400, len(lines), dict.fromkeys(range(len(lines)), (400, "NSP enabled component"))),
    "403": lambda _: Answer(403, {}, b"forbidden"),
    "404": lambda _: Answer(404, {}, PAGE),
    "413 with a page": lambda _: Answer(413, {}, PAGE),
    "500": lambda _: Answer(500, {}, PAGE),
    "500 of the service": lambda _: own(500, 0, {}),
    "503, Retry-After: 0": lambda _: Answer(503, {"Retry-After": "0"}, b""),
    "no answer in time": lambda _: Unreachable("no answer in time", "Is it slow?"),
}  # fmt: skip


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_batch_that_is_always_refused_delays_no_other(
    refusal: Callable[[list[bytes]], Said],
) -> None:
    """Whatever it is answered: the others go on, it is narrowed to one item, kept, and shown."""

    async def main() -> None:
        bench = Bench(lambda lines: refusal(lines) if POISON in lines else accepted(lines))
        bench.add(*map(line, range(500)), POISON, *map(line, range(500, 999)))
        added: dict[int, float] = {}
        late: list[float] = []

        def step() -> None:
            added[bench.add(line(10_000 + len(added)))] = bench.now
            waiting = added.keys() & bench.outbox.batches.keys()
            late.extend(bench.now for number in waiting if bench.now - added[number] > 20)

        await bench.run(HOUR, step, 15)
        [last] = bench.outbox.batches.values()
        assert last.items == 1, "the one that is refused, and no other item"
        assert bench.outbox.totals == {"accepted": 999 + len(added), "expired": 0, "rejected": 0}
        assert not late, "the present is not late for it"
        assert bench.most_a_minute(bench.posts_with(POISON)) <= 20
        assert len(bench.posts_with(POISON)) <= 60
        assert not bench.backoff.state.failures
        assert bench.picker.refused_alone.items == 1
        assert bench.picker.refused_alone.reason

    run(main())


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("seconds", [0.001, 4.0])
def test_a_service_that_refuses_all_gets_a_handful_of_requests_a_minute(
    refusal: Callable[[list[bytes]], Said], seconds: float
) -> None:
    """Many batches wait, and more come; nothing is lost, and after it all goes out."""

    async def main() -> None:
        bench = Bench(refusal, seconds=seconds)
        items = 0

        def step() -> None:
            nonlocal items
            bench.add(*map(line, range(items, items + 10)))
            items += 10

        await bench.run(HOUR, step, 15)
        assert bench.most_a_minute([at for at, _ in bench.posts]) <= 12
        assert len(bench.posts) <= 60
        assert sum(batch.items for batch in bench.outbox.batches.values()) == items
        assert bench.outbox.totals.total() == 0

    run(main())


@pytest.mark.parametrize("seconds", [0.001, 0.2, 4.0])
def test_retry_after_of_a_minute_is_kept_to(seconds: float) -> None:
    """429 with Retry-After: 60, all settings default: four requests that began together, then one a minute at most."""

    async def main() -> None:
        bench = Bench(lambda _: Answer(429, {"Retry-After": "60"}, b""), seconds=seconds)
        items = 0

        def step() -> None:
            nonlocal items
            bench.add(*map(line, range(items, items + 20)))
            items += 20

        await bench.run(600, step)
        times = [at for at, _ in bench.posts]
        assert sum(at < 60 for at in times) <= 5
        assert 5 <= sum(at >= 60 for at in times) <= 10, "the waits grow past what is told"
        assert all(after - at >= 60 for at, after in pairwise(times) if at >= 60)
        assert bench.outbox.totals.total() == 0
        bench.answer = accepted
        await bench.run(1800, step_seconds=60)
        assert bench.outbox.totals["accepted"] == items

    run(main())


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_kept_to_where_the_usual_wait_is_short(as_date: bool) -> None:  # noqa: FBT001
    """503 with Retry-After, in seconds or as a date by the clock of the day: a fault is else tried after a second."""

    async def main() -> None:
        when = formatdate(EPOCH + 300, usegmt=True) if as_date else "300"
        bench = Bench(lambda _: Answer(503, {"Retry-After": when}, PAGE))
        bench.add(line(0))
        await bench.run(299)
        assert len(bench.posts) == 1
        bench.answer = accepted
        await bench.run(5)
        assert bench.outbox.totals["accepted"] == 1

    run(main())


OTHERS = {row.name: row for row in ROWS if row.who != SERVICE}


@pytest.mark.parametrize("row", OTHERS.values(), ids=OTHERS)
def test_a_server_in_the_service_s_place_gets_a_handful_too(row: Row) -> None:
    """Each answer of docs/answers.md that is not the service's, for ever: nothing ends, few requests."""

    async def main() -> None:
        bench = Bench(lambda _: Answer(row.status, CIMultiDict(row.headers), row.received))
        for number in range(20):
            bench.add(*map(line, range(10 * number, 10 * number + 10)))
        await bench.run(HOUR, step_seconds=60)
        assert bench.most_a_minute([at for at, _ in bench.posts]) <= 12
        assert len(bench.posts) <= 60
        assert sum(batch.items for batch in bench.outbox.batches.values()) == 200
        assert bench.outbox.totals.total() == 0

    run(main())


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_after_an_outage_all_goes_out(refusal: Callable[[list[bytes]], Said]) -> None:
    """What was tried in vain meanwhile waits for no other reason."""

    async def main() -> None:
        bench = Bench(refusal)
        for number in range(100):
            bench.add(*map(line, range(10 * number, 10 * number + 10)))

        def end() -> None:
            if bench.now >= HOUR:
                bench.answer = accepted

        await bench.run(HOUR + 240, end, 120)
        assert bench.outbox.totals["accepted"] == 1000
        assert not bench.outbox.batches

    run(main())


def test_one_item_that_the_service_takes_later_for_ever_is_set_back_alone() -> None:
    """A 206 names it again and again: it is sent again ever more rarely, and the rest is in."""

    async def main() -> None:
        def answer(lines: list[bytes]) -> Said:
            errors = {i: (500, "busy") for i, each in enumerate(lines) if each == POISON}
            return own(206 if errors and len(lines) > 1 else 200 if not errors else 400, len(lines), errors)  # fmt: skip

        bench = Bench(answer)
        bench.add(*map(line, range(9)), POISON)
        await bench.run(HOUR, lambda: bench.add(line(100)), 15)
        [last] = bench.outbox.batches.values()
        assert last.items == 1
        assert not bench.backoff.state.failures
        assert bench.most_a_minute(bench.posts_with(POISON)) <= 12
        assert bench.picker.refused_alone.batches == 1

    run(main())


@pytest.mark.parametrize(
    ("code", "action"), [(402, Action.QUOTA), (439, Action.QUOTA), (429, Action.THROTTLE)]
)
def test_a_quota_that_ends_amid_a_batch_is_a_quota(code: int, action: Action) -> None:
    """The service took five of ten and says that it is enough: that holds for all."""

    async def main() -> None:
        later = dict.fromkeys(range(5, 10), (code, "Daily quota exceeded"))
        bench = Bench(lambda lines: own(206, len(lines), later if len(lines) == 10 else {0: (code, "")}))  # fmt: skip
        bench.add(*map(line, range(10)))
        bench.add(*map(line, range(10)))
        await bench.run(5)
        assert bench.backoff.state.action is action
        assert bench.outbox.totals["accepted"] % 5 == 0
        assert len(bench.posts) <= 2

    run(main())


def test_413_is_halved_until_it_fits_and_each_item_arrives_once() -> None:
    """With a wait between the tries."""

    async def main() -> None:
        bench = Bench(lambda lines: accepted(lines) if len(lines) <= 10 else Answer(413, {}, PAGE))
        for number in range(20):
            bench.add(*map(line, range(100 * number, 100 * number + 100)))
        await bench.run(HOUR)
        assert bench.outbox.totals["accepted"] == 2000
        assert not bench.outbox.batches
        refused = [at for at, lines in bench.posts if len(lines) > 10]
        assert bench.most_a_minute(refused) <= 40

    run(main())


def test_none_is_begun_after_the_stop() -> None:
    """Those that were chosen already wait for the next start."""

    async def main() -> None:
        bench = Bench(accepted)
        bench.add(line(1))
        bench.between = bench.delivery.stop
        await bench.delivery.run()
        assert not bench.posts

    run(main())


def test_one_goes_alone_when_the_way_has_closed_and_its_time_is_over() -> None:
    """All were chosen while it was open, and went slowly: that is no leave to try with all."""

    async def main() -> None:
        bench = Bench(accepted)
        for number in range(4):
            bench.add(line(number))

        def fail_long_ago() -> None:
            if not bench.posts:
                bench.backoff.failed(Action.RETRY, bench.loop.time() - 100, bench.loop.time() - 100)

        bench.between = fail_long_ago
        await bench.run(5)
        second = [at for at, _ in bench.posts][1]
        assert second >= 0.99 * bench.seconds, "it waits for the first"
        assert bench.outbox.totals["accepted"] == 4
        assert sum(bench.taken) - sum(bench.given_back) == 4, "only what is sent counts"

    run(main())


def test_what_arrived_in_the_last_minute_goes_first() -> None:
    """So that catching up does not make the present late; of the older ones the oldest goes first."""

    async def main() -> None:
        bench = Bench(accepted, senders=1, seconds=1.0)
        for number in range(200):
            bench.add(line(number))

        def step() -> None:
            if bench.now == 100:
                bench.add(line(1000))
                bench.add(line(1001))

        await bench.run(150, step)
        order = [lines[0] for _, lines in bench.posts]
        [at] = bench.posts_with(line(1000))
        assert at <= 102
        assert bench.posts_with(line(1001))[0] <= 103
        assert order[:50] == list(map(line, range(50)))

    run(main())


def test_a_batch_expires_by_its_newest_item() -> None:
    """Young items do not expire with an old one; and the service is asked before it told its time."""

    async def main() -> None:
        dated = {"Date": formatdate(EPOCH, usegmt=True)}
        bench = Bench(lambda lines: own(200, len(lines), None, **dated))
        bench.add(line(0))
        await bench.run(5)
        old_ms = round((EPOCH - 49 * HOUR) * 1000)
        bench.add(line(1), newest_ms=old_ms)
        bench.add(line(2), oldest_ms=old_ms)
        await bench.run(5)
        assert not bench.posts_with(line(1))
        assert bench.posts_with(line(2))
        assert bench.outbox.totals == {"accepted": 2, "expired": 1, "rejected": 0}

    run(main())


@pytest.mark.parametrize(
    ("answer", "learnt"),
    [
        (lambda lines, date: own(200, len(lines), None, Date=date), True),
        (lambda _, date: own(503, 0, None, Date=date), True),
        (lambda _, date: Answer(200, {"Date": date}, PAGE), False),
        (lambda _, date: Answer(503, {"Date": date}, b""), False),
        (lambda _, date: Answer(200, {"Date": date}, b""), False),
    ],
)
def test_time_is_learnt_from_the_service_alone(
    answer: Callable[[list[bytes], str], Said],
    learnt: bool,  # noqa: FBT001
) -> None:
    """A portal of 1970 makes no clock wrong, and expires nothing."""

    async def main() -> None:
        date = "Thu, 01 Jan 1970 00:00:00 GMT"
        bench = Bench(lambda lines: answer(lines, date))
        bench.add(line(0))
        await bench.run(5)
        assert (bench.delivery.service_clock.ahead_seconds is not None) is learnt

    run(main())


def test_a_stop_does_not_hang_on_a_disk_that_fails() -> None:
    """The outcome of a batch that was sent cannot be written: it is tried until the stop, and then left."""

    async def main() -> None:
        def answer(lines: list[bytes]) -> Said:
            bench.disk_fails = True
            return accepted(lines)

        bench = Bench(answer)
        bench.add(line(0))
        async with asyncio.timeout(60):
            await bench.run(10)
        assert bench.now < 10 + 2 * DISK_RETRY_SECONDS
        assert len(bench.posts) == 1
        assert len(bench.outbox.batches) == 1

    run(main())


def test_an_outcome_is_written_when_the_disk_can_be_written_again() -> None:
    """Once: the batch is not sent twice meanwhile."""

    async def main() -> None:
        def answer(lines: list[bytes]) -> Said:
            bench.disk_fails = True
            return accepted(lines)

        def step() -> None:
            if bench.now < 30:
                assert not bench.outbox.settled
            else:
                bench.disk_fails = False

        bench = Bench(answer)
        bench.add(line(0))
        await bench.run(60, step)
        assert len(bench.posts) == 1
        assert bench.outbox.totals["accepted"] == 1

    run(main())


def test_a_batch_that_is_gone_from_the_outbox_delays_no_other() -> None:
    """Two are set back, and the store expires the one whose turn it is: the other is sent at once."""

    async def main() -> None:
        bench = Bench(lambda _: Answer(503, {}, b""))
        numbers = {line(number): bench.add(line(number)) for number in range(2)}

        def step() -> None:
            if bench.now == 30:
                [tried_last] = bench.posts[-1][1]
                [next_number] = [number for item, number in numbers.items() if item != tried_last]
                del bench.outbox.batches[next_number]
                bench.answer = accepted

        await bench.run(300, step)
        assert bench.outbox.totals["accepted"] == 1

    run(main())


@pytest.mark.parametrize("status", [400, 413, 415, 422, 500])
@pytest.mark.parametrize("body", [b"", PAGE])
def test_a_batch_that_the_disk_has_damaged_is_not_sent_for_ever(status: int, body: bytes) -> None:
    """The service cannot read it, and nor can we: rejected as damaged, the others go on."""

    async def main() -> None:
        bench = Bench(accepted)

        async def post(body_: bytes) -> Answer:
            bench.posts.append((bench.now, [body_]))
            return Answer(status, {}, body) if body_ == b"rubbish" else own(200, 1)

        bench.post = post  # type: ignore[method-assign,assignment]
        number = bench.add(line(0))
        batch = bench.outbox.batches[number]
        bench.outbox.batches[number] = Batch(
            number, b"rubbish", 7, batch.oldest_ms, batch.newest_ms, "key"
        )
        bench.add(line(1))
        await bench.run(5)
        assert len(bench.posts_with(b"rubbish")) == 1
        [damaged] = [each for each in bench.outbox.settled if each.rejected]
        assert damaged.rejected == {"damaged": 7}
        [letter] = damaged.dead_letters
        assert (letter.status, letter.item) == (0, "")
        assert letter.message.startswith(Damaged.message)
        assert bench.outbox.totals == {"accepted": 1, "expired": 0, "rejected": 7}
        assert bench.picker.is_idle

    run(main())


def test_a_200_without_body_is_counted_and_said() -> None:
    """Accepted by its status, and an event."""

    async def main() -> None:
        bench = Bench(lambda _: Answer(200, {}, b""))
        bench.add(*map(line, range(7)))
        await bench.run(5)
        assert bench.outbox.totals["accepted"] == bench.delivery.counts.unconfirmed_items == 7
        [event] = bench.events.latest()
        assert event.reason == "unconfirmed"

    run(main())


def test_a_defect_of_ours_stops_no_other_batch() -> None:
    """An exception that nobody thought of is logged, and the batch waits."""

    async def main() -> None:
        def answer(lines: list[bytes]) -> Said:
            if POISON in lines:
                raise RuntimeError("a defect")
            return accepted(lines)

        bench = Bench(answer)
        bench.add(POISON)
        for number in range(20):
            bench.add(line(number))
        with capture_logs() as logs:
            await bench.run(60)
        assert bench.outbox.totals["accepted"] == 20
        assert len(bench.outbox.batches) == 1
        assert len(bench.posts_with(POISON)) < 10
        told = [entry for entry in logs if "exc_info" in entry]
        assert [str(entry["exc_info"]) for entry in told] == ["a defect"] * len(told)
        assert {entry["event"] for entry in told} == {"delivery waits", SET_BACK}
        assert {(entry["reason"], entry["error"], entry["hint"]) for entry in told} == {
            ("retry", "a defect", "A defect of the receiver: please report it.")
        }

    run(main())


@pytest.mark.parametrize(
    ("said", "forgets"),
    [
        (Answer(503, {}, b""), True),
        (Answer(404, {}, PAGE), True),
        (Answer(413, {}, PAGE), True),
        (Unreachable("no answer in time", "?"), True),
        (Answer(429, {}, b""), False),
        (Answer(439, {}, b""), False),
        (own(200, 1), False),
    ],
)
def test_a_redirect_that_leads_to_a_refusal_is_given_up(said: Said, forgets: bool) -> None:  # noqa: FBT001
    """The configured host is asked again, and may redirect again; a full quota is one anywhere."""

    async def main() -> None:
        bench = Bench(lambda _: said)
        bench.add(line(0))
        await bench.run(5)
        assert bool(bench.forgotten) is forgets

    run(main())


async def finished(bench: Bench, within_seconds: float, after_seconds: float = 0) -> float:
    """Deliver for `after_seconds`, ask delivery to finish, and return how long that took."""
    running = asyncio.create_task(bench.delivery.run())
    await asyncio.sleep(after_seconds)
    began_at = bench.now
    bench.delivery.finish(within_seconds)
    await running
    return bench.now - began_at


def test_the_end_sends_what_waits_and_comes_as_soon_as_nothing_does() -> None:
    """Batch after batch, not only those that were under way."""

    async def main() -> None:
        bench = Bench(accepted, senders=1)
        for number in range(20):
            bench.add(line(number))
        assert await finished(bench, 60) == pytest.approx(20 * 0.05)
        assert bench.outbox.batches == {}
        assert await finished(Bench(accepted), 60) == 0

    run(main())


def test_the_end_has_a_bound() -> None:
    """No batch begins after it; one that is under way has its outcome written down."""

    async def main() -> None:
        bench = Bench(accepted, senders=1, seconds=1.0)
        for number in range(20):
            bench.add(line(number))
        assert await finished(bench, 4.5) == pytest.approx(5.0)
        assert bench.outbox.totals["accepted"] == 5
        assert len(bench.outbox.batches) == 15

    run(main())


def test_the_end_does_not_wait_for_a_way_that_is_closed_for_longer() -> None:
    """Blocked, throttled, no answer: a stop has better things to do than to wait."""

    async def main() -> None:
        for refusal in (
            Answer(403, {}, b"forbidden"),
            Answer(503, {"Retry-After": "3600"}, b""),
            Unreachable("no answer in time", "Is it slow?"),
        ):
            bench = Bench(lambda _, said=refusal: said)  # type: ignore[misc]
            bench.add(line(1))
            bench.add(line(2))
            while bench.backoff.wait_seconds(bench.loop.time()) < 10:
                await bench.run(1, step_seconds=1)
            assert await finished(bench, 4) < 0.2
            assert len(bench.outbox.batches) == 2

    run(main())


def test_the_end_waits_for_a_fault_that_passes_before_it() -> None:
    """One 503 at that moment: a second later the service takes all."""

    async def main() -> None:
        answers = iter([Answer(503, {}, b"")])
        bench = Bench(lambda lines: next(answers, None) or accepted(lines))
        bench.add(line(1))
        assert await finished(bench, 5) < 2
        assert bench.outbox.batches == {}

    run(main())


def test_the_end_leaves_a_batch_that_is_set_back() -> None:
    """It is refused while all others are accepted: they go, and nobody waits for it."""

    async def main() -> None:
        refusal = Answer(413, {}, PAGE)
        bench = Bench(lambda lines: refusal if POISON in lines else accepted(lines))
        bench.add(POISON)
        await bench.run(600, lambda: bench.add(line(1)), 30)
        for number in range(5):
            bench.add(line(number))
        assert await finished(bench, 4) < 4
        assert [batch.items for batch in bench.outbox.batches.values()] == [1]

    run(main())


@pytest.mark.parametrize("disk_failed", [False, True])
def test_the_end_sends_what_comes_while_it_asks(disk_failed: bool) -> None:  # noqa: FBT001
    """The outbox had nothing when it was asked, and has a batch when the answer is there."""

    async def main() -> None:
        bench = Bench(accepted)
        ask = bench.ask

        async def ask_late(question: Callable[[Any], Any]) -> Any:
            answer = await ask(question)
            is_empty = isinstance(answer, Picked) and not answer.batches
            if (
                is_empty
                and not bench.picker.in_flight
                and bench.now >= 20
                and bench.outbox.last < 3
            ):
                bench.add(line(bench.outbox.last))
            return answer

        bench.ask = ask_late  # type: ignore[method-assign]

        def mend() -> None:
            bench.disk_fails = False

        bench.disk_fails = disk_failed
        bench.loop.call_later(10, mend)
        assert await finished(bench, 60, after_seconds=20) < 1
        assert bench.outbox.totals["accepted"] == 3

    run(main())


def test_the_end_does_not_wait_for_a_disk_that_fails() -> None:
    """What waits there cannot be read: it is tried once more at most."""

    async def main() -> None:
        bench = Bench(accepted)
        bench.add(line(0))
        bench.disk_fails = True
        assert await finished(bench, 60) <= 2 * DISK_RETRY_SECONDS

    run(main())


@pytest.mark.parametrize("later", [1, 5])
def test_the_rest_of_a_206_is_sent_again_soon_beside_the_others(later: int) -> None:
    """Half of it at least was taken: that is no fault of the service, and the rest is no batch to divide."""

    async def main() -> None:
        answers = iter([own(206, 10, dict.fromkeys(range(later), (500, "busy")))])
        bench = Bench(lambda lines: next(answers, None) or accepted(lines))
        bench.add(*map(line, range(10)))
        with capture_logs() as logs:
            await bench.run(5)
        assert logs == []
        assert [len(lines) for _, lines in bench.posts] == [10, later]
        assert bench.outbox.totals["accepted"] == 10

    run(main())


async def emptied(bench: Bench) -> float:
    """Ask delivery to end when nothing waits; says how long it took."""
    bench.delivery.end_when_empty()
    await bench.delivery.run()
    return bench.now


def test_a_delivery_without_a_route_ends_when_nothing_waits() -> None:
    """At once where nothing does, and with the last batch."""

    async def main() -> None:
        assert await emptied(Bench(accepted)) == 0
        bench = Bench(accepted, senders=2)
        for number in range(5):
            bench.add(line(number))
        assert await emptied(bench) == pytest.approx(0.15)
        assert bench.outbox.batches == {}

        idle = Bench(accepted)
        running = asyncio.create_task(idle.delivery.run())
        await asyncio.sleep(60)
        idle.delivery.end_when_empty()
        await asyncio.wait_for(running, 1)

    run(main())


@pytest.mark.parametrize("alone", [True, False])
def test_a_delivery_without_a_route_has_time(alone: bool) -> None:  # noqa: FBT001
    """A batch that is set back, or all, go when the service takes them."""

    async def main() -> None:
        def answer(lines: list[bytes]) -> Said:
            refused = bench.now < 300 and (POISON in lines or not alone)
            return Answer(503, {}, b"") if refused else accepted(lines)

        bench = Bench(answer)
        for number in range(5):
            bench.add(line(number))
        bench.add(POISON)
        assert 300 < await emptied(bench) < 600
        assert bench.outbox.batches == {}

    run(main())


def test_a_delivery_without_a_route_waits_for_the_disk() -> None:
    """While it cannot be read nobody knows that nothing waits; it is asked once a second."""

    async def main() -> None:
        bench = Bench(accepted)
        bench.disk_fails = True
        bench.add(line(0))

        def mend() -> None:
            bench.disk_fails = False

        bench.loop.call_later(30, mend)
        assert 30 <= await emptied(bench) < 32
        assert bench.outbox.totals["accepted"] == 1

    run(main())


def test_a_lane_is_busy_while_a_batch_is_in_flight() -> None:
    """The committer then lingers for company; an emptied outbox gives its disk back, in steps."""

    async def main() -> None:
        busy: list[set[str]] = []

        def answer(lines: list[bytes]) -> Said:
            busy.append(set(bench.busy_lanes))
            assert not bench.outbox.compactions
            return accepted(lines)

        bench = Bench(answer, lane="a", senders=2)
        bench.busy_lanes = {"other"}
        bench.outbox.free = 5
        for number in range(5):
            bench.add(line(number))
        await bench.run(5)
        assert busy == [{"a", "other"}] * 5
        assert bench.busy_lanes == {"other"}
        assert bench.outbox.free == 0
        assert bench.outbox.compactions >= 5

    run(main())


def test_a_batch_that_was_set_back_and_has_expired_is_forgotten() -> None:
    """It is shown as refused no more."""

    async def main() -> None:
        def answer(lines: list[bytes]) -> Said:
            date = formatdate(bench.clock(), usegmt=True)
            if POISON in lines:
                return Answer(404, {}, PAGE)
            return own(200, len(lines), None, Date=date)

        bench = Bench(answer)
        bench.add(POISON, newest_ms=round((EPOCH - 48 * HOUR + 600) * 1000))
        await bench.run(300, lambda: bench.add(line(1)), 15)
        assert bench.picker.refused_alone.batches == 1
        await bench.run(900, lambda: bench.add(line(1)), 15)
        assert bench.outbox.totals["expired"] == 1
        assert bench.picker.refused_alone.batches == 0
        assert bench.picker.is_idle

    run(main())


def test_a_used_up_quota_is_tried_with_the_smallest_batch() -> None:
    """Little is risked."""

    async def main() -> None:
        bench = Bench(lambda _: own(439, 0, {}), senders=1)
        for count in (30, 10, 20):
            bench.add(*map(line, range(count)))
        await bench.run(HOUR, step_seconds=60)
        sizes = [len(lines) for _, lines in bench.posts]
        assert sizes[0] == 30
        assert sizes[1:] == [10] * len(sizes[1:])
        assert len(sizes) > 1

    run(main())
