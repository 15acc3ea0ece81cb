"""A short storm, in every run of the tests; `make storm` is the long one."""

from pathlib import Path

from tests.integration.waiting import in_loop
from tests.storm.storm import Storm


@in_loop(110)
async def test_a_short_storm_loses_nothing(tmp_path: Path) -> None:
    """Twenty seconds, four kills: nothing lost, nothing committed twice, each double explained."""
    storm = Storm(tmp_path, seconds=20, kills=4, seed=20261122)
    report = await storm.run()
    print(report)
    assert not storm.wrong
    assert report.folded_totals == 3 * (2 + 2 + 2 + 4)  # shards; calls, both, joined, by model
    assert report.folded_items > 100
    assert report.lost == 0
    assert report.condemned_by_others == 0
    assert report.of_a_request_sent_twice == 0
    assert report.samples_of_followers > 200
    assert report.doubled_unexplained == 0
    assert report.kills >= 4
    assert report.looks_at_the_ledger > 20
    assert report.delivered > 1000
    assert len(report.faults) > 5


@in_loop(110)
async def test_a_short_storm_with_two_routes_one_of_them_blocked(tmp_path: Path) -> None:
    """The same with two routes: the blocked one holds no other back, and loses and doubles no more."""
    storm = Storm(tmp_path, seconds=20, kills=4, seed=20261127, routes=True)
    report = await storm.run()
    print(report)
    assert not storm.wrong
    assert report.lost == 0
    assert report.condemned_by_others == 0
    assert report.of_a_request_sent_twice == 0
    assert report.doubled_unexplained == 0
    assert report.in_a_resource_of_others == 0
    assert report.kills >= 4
    assert report.samples_of_followers > 0
    assert report.others_delivered_while_blocked > 0
    assert report.of_the_blocked_delivered > 0.9 * report.of_the_blocked_acknowledged_then > 0
