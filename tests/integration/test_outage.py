"""Real Prometheus 2.42 loses nothing to an outage of the service and a kill of the receiver."""

from pathlib import Path

from tests.integration.waiting import in_loop
from tests.storm import outage


@in_loop(110)
async def test_prometheus_through_an_outage_and_a_kill(tmp_path: Path) -> None:
    """Each finite sample that Prometheus holds of nv_ series arrives, those of the rules too."""
    outcome = await outage.run(tmp_path, before_seconds=5, outage_seconds=20, retry_max="1s")
    print(outcome)
    assert outcome.prometheus_version.startswith("2.42")
    assert outcome.held_by_prometheus > 400
    assert outcome.missing == 0
    assert outcome.pending_at_most > 200
    assert outcome.receiver_starts == 2
