"""A cluster has one leader: as long as it comes, and the next one after the timeout."""

from receiver.intake.election import NEVER_MS, Change, Election

TIMEOUT_SECONDS = 30.0
EPOCH = 1_800_000_000.0


def arrive(election: Election, replica: str, now: float, cluster: str = "") -> Change | None:
    """A request of one replica, with both clocks in step."""
    return election.arrive(cluster, [replica], now, EPOCH + now)


def test_the_first_that_comes_leads_and_others_do_not_change_that() -> None:
    """As long as it comes."""
    election = Election(TIMEOUT_SECONDS)

    assert arrive(election, "a", 0.0) == Change("", "", "a")
    for now in range(1, 200):
        assert arrive(election, "b", now) is None
        if now % 29 == 0:
            assert arrive(election, "a", now) is None
    assert election.leads[""].replica == "a"


def test_the_next_takes_over_when_the_timeout_is_over_and_not_before() -> None:
    """By the time of arrival alone."""
    election = Election(TIMEOUT_SECONDS)
    arrive(election, "a", 0.0)

    assert arrive(election, "b", 29.9) is None
    assert arrive(election, "b", 30.0) == Change("", "a", "b", 30.0)
    assert arrive(election, "a", 30.1) is None
    assert election.leads[""].changes == 1


def test_a_leader_that_shares_a_request_with_another_stays_leader() -> None:
    """However long it was silent: it is there."""
    election = Election(TIMEOUT_SECONDS)
    arrive(election, "b", 0.0)

    assert election.arrive("", ["a", "b"], 100.0, EPOCH + 100) is None
    assert election.leads[""].replica == "b"


def test_a_new_leader_counts_behind_what_was_brought_and_the_timeout() -> None:
    """So that a clock that is ahead by less doubles nothing, and fakes no reset."""
    election = Election(TIMEOUT_SECONDS)
    arrive(election, "a", 0.0)
    assert election.leads[""].floor_ms == NEVER_MS
    newest_ms = round(EPOCH * 1000)
    election.brought("", newest_ms)
    election.brought("", newest_ms - 5_000)

    arrive(election, "b", 40.0)

    assert election.leads[""].floor_ms == newest_ms + 30_000
    assert election.leads[""].newest_ms == newest_ms


def test_a_clock_far_ahead_keeps_its_successor_out_for_the_timeout_at_most() -> None:
    """By the receiver's own clock."""
    election = Election(TIMEOUT_SECONDS)
    arrive(election, "a", 0.0)
    election.brought("", round((EPOCH + 7200) * 1000))

    arrive(election, "b", 40.0)

    assert election.leads[""].floor_ms == round((EPOCH + 40 + 30) * 1000)


def test_a_leader_that_brought_nothing_leaves_no_floor() -> None:
    """There is nothing to double."""
    election = Election(TIMEOUT_SECONDS)
    arrive(election, "a", 0.0)
    arrive(election, "b", 40.0)

    assert election.leads[""].floor_ms == NEVER_MS


def test_clusters_have_leaders_of_their_own() -> None:
    """One that fails over changes nothing for the others."""
    election = Election(TIMEOUT_SECONDS)
    arrive(election, "a", 0.0, "east")
    arrive(election, "b", 0.0, "west")
    arrive(election, "b", 20.0, "west")

    assert arrive(election, "b", 31.0, "east") == Change("east", "a", "b", 31.0)
    assert arrive(election, "a", 31.0, "west") is None
