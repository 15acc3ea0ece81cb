"""What delivery counts and tells of what it does, on a clock that jumps."""

import asyncio
from collections.abc import Sequence

from structlog.testing import capture_logs

from receiver.azure.rejections import REJECT_REASONS
from receiver.delivery.http_connection import Answer
from receiver.errors import Unreachable
from receiver.outbox.gzip_body import compress
from tests.unit.delivery.bench import POISON, Bench, Said, accepted, line, own
from tests.unit.delivery.jumping import run

HOUR = 3600


def lines_of(logs: Sequence[object], event: str) -> int:
    """Count the log lines that begin so."""
    return sum(isinstance(entry, dict) and entry["event"] == event for entry in logs)


def test_an_outage_is_logged_once_an_hour_and_so_is_its_end() -> None:
    """One recent error, however often it was tried; the next outage is told at once."""

    async def main() -> None:
        bench = Bench(lambda _: Answer(503, {}, b"<html>no</html>"))
        bench.add(line(0))
        with capture_logs() as logs:
            await bench.run(1.5 * HOUR, step_seconds=60)
            assert lines_of(logs, "delivery waits") == 2
            [event] = bench.events.latest()
            assert (event.where, event.reason) == ("delivery", "retry")
            assert event.words == "503 <html>no</html> (from https://service.example)"
            assert event.hint == bench.backoff.state.hint
            assert event.words == bench.backoff.state.reason
            assert event.count == len(bench.posts)
            waits = [entry["wait_seconds"] for entry in logs if entry["event"] == "delivery waits"]
            assert waits == [1.0, 120.0]
            assert bench.picker.refused_alone.batches == 0, "no other is accepted"
            bench.answer = accepted
            await bench.run(300)
            assert lines_of(logs, "delivery resumed") == 1
            bench.answer = lambda _: Unreachable("no answer", "look")
            bench.add(line(1))
            await bench.run(5)
            assert lines_of(logs, "delivery waits") == 3
        assert bench.events.latest()[0].words == "no answer"
        assert bench.events.latest()[0].hint == "look"

    run(main())


def test_a_batch_that_is_refused_alone_is_logged_every_ten_minutes() -> None:
    """With what it was answered: the others go on, and nobody would look."""

    async def main() -> None:
        bench = Bench(lambda lines: Answer(404, {}, b"") if POISON in lines else accepted(lines))
        bench.add(POISON)
        with capture_logs() as logs:
            await bench.run(HOUR, lambda: bench.add(line(1)), 15)
        told = lines_of(logs, "a batch is refused while others are accepted")
        assert 4 <= told <= 7
        alone = bench.events.latest()[0]
        assert (alone.where, alone.reason) == ("delivery", "blocked")
        assert alone.words.startswith("404")
        assert alone.hint == bench.picker.refused_alone.hint

    run(main())


def test_rejected_items_are_logged_with_the_service_s_message() -> None:
    """How many, why, what to do, and where to see them."""

    async def main() -> None:
        words = "Field 'name' on type 'MetricData' is too long"
        bench = Bench(lambda lines: own(206, len(lines), {0: (400, words), 2: (400, words)}))
        bench.add(*map(line, range(5)))
        with capture_logs() as logs:
            await bench.run(5)
        [event] = bench.events.latest()
        assert (event.where, event.reason, event.words, event.count) == (
            "rejected", "too_long", words, 2,
        )  # fmt: skip
        advice = REJECT_REASONS["too_long"][1]
        assert event.hint == f"{advice} appinsights-receiver dead-letters shows them."
        assert lines_of(logs, "items rejected") == 1
        assert bench.outbox.totals == {"accepted": 3, "expired": 0, "rejected": 2}

    run(main())


def test_a_200_without_body_is_logged_every_ten_minutes() -> None:
    """Nobody can say what became of these items."""

    async def main() -> None:
        bench = Bench(lambda _: Answer(200, {}, b""))
        with capture_logs() as logs:
            await bench.run(1790, lambda: bench.add(line(1), line(2)), 10)
        assert lines_of(logs, "items unconfirmed") == 3
        [event] = bench.events.latest()
        assert (event.where, event.reason, event.count) == ("delivery", "unconfirmed", 2 * 179)
        assert bench.delivery.counts.unconfirmed_items == 2 * 179

    run(main())


def test_each_attempt_is_counted_by_its_answer() -> None:
    """With its bytes and its time; those that reached nobody too."""

    async def main() -> None:
        answers: list[Said] = [
            *[Unreachable("no", "?")] * 2, *[Answer(503, {}, b"")] * 2, own(200, 2), own(200, 2),
        ]  # fmt: skip
        bench = Bench(lambda _: answers.pop(0), seconds=0.5)
        bench.add(line(1), line(2))
        await bench.run(60)
        bench.add(line(1), line(2))
        await bench.run(60)
        counts = bench.delivery.counts
        assert counts.attempts == {"unreachable": 2, "503": 2, "200": 2}
        assert counts.sent_bytes == 4 * len(compress([line(1), line(2)]))
        assert abs(counts.seconds - 3) < 0.01
        assert abs(counts.latency.total_seconds - 3) < 0.01
        assert sum(counts.latency.counts) == 6
        assert bench.taken == [2] * 6, "each try takes its items' part of the rate"

    run(main())


def test_senders_are_as_many_as_are_set() -> None:
    """At once, and no more; the tasks are named by their batch."""

    async def main() -> None:
        under_way: list[int] = []
        names: set[str] = set()

        def answer(lines: list[bytes]) -> Said:
            under_way.append(bench.picker.in_flight)
            names.update(task.get_name() for task in asyncio.all_tasks())
            return accepted(lines)

        bench = Bench(answer, senders=3)
        for number in range(20):
            bench.add(line(number))
        await bench.run(10)
        assert max(under_way) == 3
        assert {"batch 1", "batch 20"} <= names

    run(main())
