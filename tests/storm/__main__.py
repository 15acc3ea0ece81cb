"""`python -m tests.storm --seconds 120 --seed N`: the storm, and its report."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.storm.storm import Storm


def main() -> int:
    """Read the arguments, run the storm, print what became of it; 1 where something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long it blows")
    parser.add_argument("--seed", type=int, help="what it is drawn from; else the time")
    parser.add_argument("--kills", type=int, help="kill -9s, at least; else one in five seconds")
    parser.add_argument(
        "--routes", action="store_true", help="two routes; one is blocked until late in the storm"
    )
    given = parser.parse_args()
    seed = int(time.time()) if given.seed is None else given.seed
    kills = given.kills or max(1, round(given.seconds / 5))
    with tempfile.TemporaryDirectory() as folder:
        storm = Storm(Path(folder), given.seconds, kills, seed, routes=given.routes)
        print(f"The storm blows for {given.seconds:g} s, seed {seed}.", flush=True)
        asyncio.run(storm.run())
        print(storm.report)
    for posts in storm.unexplained.values():
        print("unexplained:", *posts, sep="\n  ")
    for total, (grown, items) in storm.wrong.items():
        print(f"wrong: {total} grew {grown}, its items say {items:g}")
    report = storm.report
    good = not (
        report.lost
        or report.condemned_by_others
        or report.of_a_request_sent_twice
        or report.doubled_unexplained
        or report.folded_totals_wrong
        or report.in_a_resource_of_others
    )
    print("Nothing is lost." if good else "THE PROMISES ARE BROKEN.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
