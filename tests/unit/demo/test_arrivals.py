"""What `make run` says of arrivals is right, short, and said once."""

from typing import Any

from demo.arrivals import key, number, read_latest, tell, tell_counters

SUCCESS = "nv_inference_request_success"


def entry(
    name: str = SUCCESS, value: float = 412, items: int = 12, **labels: str
) -> dict[str, Any]:
    return {
        "name": name,
        "properties": labels,
        "time": "2026-11-22T14:03:15.250+00:00",
        "value": value,
        "items": items,
    }


def lines(*entries: dict[str, Any]) -> list[str]:
    return list(tell(read_latest(entries)))


def test_a_headline_series_gets_a_line_with_value_items_and_local_time() -> None:
    """The labels that all series share, and version 1, are left out."""
    latest = entry(model="add_sub", version="1", job="triton", instance="localhost:8002")
    local = read_latest([latest])[0].time.strftime("%H:%M:%S")

    assert lines(latest) == [f'{SUCCESS}{{model="add_sub"}} 412  (12 items, {local})']


def test_a_version_other_than_1_is_reported() -> None:
    """Two versions of a model must not look the same."""
    assert lines(entry(model="m", version="2"))[0].startswith(
        f'{SUCCESS}{{model="m", version="2"}}'
    )


def test_headlines_come_in_their_order_whatever_the_sandbox_answers() -> None:
    """Counts before their rates, before the CPU."""
    names = ["nv_cpu_utilization", f"{SUCCESS}_irate", SUCCESS]

    told = lines(*[entry(name, value=0.5) for name in names])

    assert [line.split(" ")[0] for line in told] == [
        SUCCESS,
        f"{SUCCESS}_irate",
        "nv_cpu_utilization",
    ]


def test_the_rest_is_summed_up_in_one_line() -> None:
    """Series that are 0 or no headline are counted, not listed."""
    told = lines(entry(model="a"), entry(model="b", value=0), entry("nv_inference_count", items=1))

    assert told[1:] == ["and 2 other series; in all 3 series, 25 items"]


def test_what_was_printed_is_not_printed_again() -> None:
    """Only a newer value is news."""
    arrivals = read_latest([entry(model="a"), entry("nv_inference_count")])
    told = {key(arrival): arrival.time for arrival in arrivals}

    assert list(tell(arrivals, told)) == []


def test_nothing_arrived_is_no_line() -> None:
    """Until the first scrape there is nothing to say."""
    assert lines() == []


def test_numbers_are_as_short_as_a_person_wants_them() -> None:
    """No exponents for large ones, no zeroes at the end."""
    assert [number(value) for value in (412.0, 17179869184.0, 9.9333, 0.5, 59506.27, 0.00123)] == [
        "412",
        "17179869184",
        "9.93",
        "0.5",
        "59506.27",
        "0.0012",
    ]


def test_counters_are_summed_over_their_reasons() -> None:
    """Dropped and rejected samples are counted one by one in the status."""
    status = {
        "received": 100,
        "unselected": 20,
        "dropped": {"nan": 5, "labels": 1},
        "accepted": 70,
        "rejected": {},
        "expired": 0,
        "pending": 4,
    }

    assert tell_counters(status) == (
        "100 received, 20 not in metrics.json, 6 dropped, 70 accepted by Application Insights, "
        "0 rejected, 0 expired, 4 pending"
    )
