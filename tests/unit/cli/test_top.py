"""`top`'s screen: the verdict whole and on top, whatever the terminal's size."""

from typing import Any

import pytest

from receiver.cli.terminal import COLORS
from receiver.cli.top import to_rows

LINE = "BLOCKED: 403 " + "words " * 30 + "the identity lacks the role"


def status(**flow: Any) -> dict[str, Any]:
    """Make a status with a long verdict."""
    counts = dict.fromkeys(("received", "unselected", "committed", "expired", "waiting", "accepted", "requests"), 0)  # fmt: skip
    return {
        "verdict": {"line": LINE, "severity": "bad", "hint": "Do " * 40 + "it.", "also": ["BEHIND: much"]},
        "flow": {**counts, "seconds": 60.0, "dropped": {}, "rejected": {}, **flow},
        "outbox": {"items": 0, "bytes": 0, "oldest_seconds": 0.0},
        "errors": [{"count": 1, "where": "delivery", "words": "said " * 40 + "the end"}],
    }  # fmt: skip


def metrics(count: int, value: float | None = 1.0) -> dict[str, Any]:
    """Make so many metrics."""
    row = {"per_minute": 1.0, "series": 1, "low": value, "high": value, "name": "n" * 100}
    return {"selected": {"rows": [row] * count}}


def test_tables_are_cut_and_never_a_sentence() -> None:
    """The verdict is read whole on a narrow terminal, the cause of it at its end as well."""
    shown = [row.text for row in to_rows(status(), metrics(1), room=60, columns=40)]

    assert max(map(len, shown)) == 40
    text = " ".join(" ".join(shown).split())
    for whole in (LINE, "Do it.", "also: BEHIND: much", "said the end"):
        assert whole in text


@pytest.mark.parametrize("room", [6, 12, 24, 50])
def test_the_verdict_is_never_scrolled_away(room: int) -> None:
    """No more lines than the terminal has; what does not fit is said to be more."""
    rows = to_rows(status(), metrics(200), room, 120)
    assert len(rows) <= room
    assert rows[0].text.startswith("BLOCKED: 403")
    if room == 50:
        assert any("more" in row.text for row in rows)
        assert any("the end" in row.text for row in rows)


def test_what_senders_wrote_moves_no_cursor() -> None:
    """In the verdict as in a name."""
    found = status()
    found["verdict"]["line"] = "REJECTED: \x1b[2J\x07\nOK: all is well"
    shown = to_rows(found, metrics(0), 50, 80)
    assert shown[0].text == r"REJECTED: \x1b[2J\x07\nOK: all is well"


@pytest.mark.parametrize(("value", "shown"), [(268_435_456.0, "268435456"), (2.0**53, "9007199254740992"), (0.123456789, "0.123457"), (1e300, "1e+300"), (None, " - ")])  # fmt: skip
def test_values_are_exact_where_they_are_whole(value: float | None, shown: str) -> None:
    """As far as a double holds whole numbers."""
    assert any(shown in row.text for row in to_rows(status(), metrics(1, value), 60, 200))


def test_a_metric_shows_the_span_of_its_series() -> None:
    """And not the value of an arbitrary one."""
    row = {"per_minute": 1.0, "series": 3, "low": 0.0, "high": 12.5, "name": "nv_a"}
    rows = to_rows(status(), {"selected": {"rows": [row]}}, 60, 200)
    assert any("0 to 12.5  nv_a" in row.text for row in rows)


def test_a_folded_metric_says_what_its_items_are() -> None:
    """And how many events the last one stands for."""
    row = {"per_minute": 1.0, "series": 1, "low": 50.0, "high": 50.0, "name": "us", "as": "mean", "last_count": 30}  # fmt: skip
    others = [row | {"name": "c", "as": "delta", "last_count": None}, row | {"name": "raw", "as": "samples"}]  # fmt: skip
    rows = to_rows(status(), {"selected": {"rows": [row, *others]}}, 60, 200)
    ends = [" ".join(row.text.split()) for row in rows if row.text.startswith("         1.0")]
    assert ends == ["1.0 1 50 us mean, last of 30", "1.0 1 50 c delta", "1.0 1 50 raw"]


def test_folded_flows_have_their_rows() -> None:
    """Where nothing is folded they are left out; refused requests are red."""
    words = [row.text.split()[:2] for row in to_rows(status(), metrics(0), 60, 100)]
    assert ["-", "folded"] not in words
    rows = to_rows(status(folded=5, rendered=1, flushed=2, refused={"too_large": 3}), metrics(0), 60, 100)  # fmt: skip
    words = [row.text.split()[:2] for row in rows]
    assert ["-", "folded"] in words
    assert ["+", "flushed"] in words
    assert "  requests refused: 3 too_large" in [row.text for row in rows]


def route(name: str, state: str = "open", pending: int = 0, **more: Any) -> dict[str, Any]:
    """Make a route of a status."""
    outbox = {"bytes": pending * 10, "max_bytes": 1000, "oldest_seconds": 90.0, "full": False}
    delivery = {"failures": 0, "reason": ""}
    return {
        "name": name, "state": state, "pending": pending, "per_minute": 12.34,
        "outbox": outbox | more.get("outbox", {}), "delivery": delivery | more.get("delivery", {}),
    }  # fmt: skip


def routes_of(*routes: dict[str, Any]) -> list[tuple[str, str]]:
    rows = to_rows(status() | {"routes": list(routes)}, metrics(0), 60, 200)
    first = next((n for n, row in enumerate(rows) if row.text.startswith("  route ")), None)
    if first is None:
        return []
    end = next(n for n, row in enumerate(rows) if n > first and not row.text)
    return [(" ".join(row.text.split()), row.color) for row in rows[first + 1 : end]]


def test_routes_have_a_line_each() -> None:
    """State, what waits and its share of the outbox; without routes there is none."""
    refused = {"failures": 3, "reason": "403 no \x1b[2J role"}
    shown = routes_of(
        route("default"),
        route("team-a", "blocked", 50, delivery=refused),
        route("team-b", "blocked", 1200, delivery=refused, outbox={"full": True}),
        route("team-c", "held", 5, outbox={"max_bytes": 0}),
        route("team-d", "held", outbox={"max_bytes": 0}),
    )
    assert shown == [
        ("default open 0 0% - 12.3", ""),
        (r"team-a blocked 50 50% 90 s 12.3 403 no \x1b[2J role", COLORS["warn"]),
        (r"team-b blocked 1,200 1200% 90 s 12.3 full: its samples are dropped; 403 no \x1b[2J role", COLORS["bad"]),
        ("team-c held 5 - 90 s 12.3", COLORS["warn"]),
        ("team-d held 0 - - 12.3", ""),
    ]  # fmt: skip
    assert routes_of() == []


def test_of_many_routes_those_in_trouble_are_shown() -> None:
    """The others are counted."""
    many = [route(f"team-{number}") for number in range(20)]
    many[15] = route("team-15", pending=5, outbox={"full": True})
    shown = routes_of(*many)
    assert len(shown) == 8
    assert shown[0][0].startswith("team-15 ")
    assert shown[-1][0] == "and 13 more"
