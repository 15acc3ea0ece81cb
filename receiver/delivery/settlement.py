"""A verdict on a batch becomes what is written down of it. Pure.

In: the batch that was sent, and what the service said of it. Out: a `Settlement`, in which
each item has its end, or goes back; of those that were rejected for good some are kept,
with the service's own words.
"""

from collections import Counter

from receiver.azure.verdict import TOO_OLD, UNEXPLAINED, Action, Verdict
from receiver.outbox.batch import Batch, DeadLetter, Settlement, unpack

DEAD_LETTERS_PER_BATCH = 50


def settlement(batch: Batch, found: Verdict) -> Settlement:
    """Turn a verdict on a batch into what is written down of it."""
    if found.action is Action.SPLIT:
        lines = unpack(batch.body)
        return Settlement(batch, again=(lines[: len(lines) // 2], lines[len(lines) // 2 :]))
    rejected = Counter(each.reason for each in found.rejected)
    expired = rejected.pop(TOO_OLD, 0)
    if found.unexplained:
        rejected[UNEXPLAINED] += found.unexplained
    lines = unpack(batch.body) if found.retry or found.rejected else []
    letters = [
        DeadLetter(each.status, each.message, lines[each.index].decode("utf-8", "replace").rstrip())
        for each in found.rejected[:DEAD_LETTERS_PER_BATCH]
    ]
    return Settlement(
        batch,
        accepted=found.accepted,
        expired=expired,
        rejected=rejected,
        again=([lines[index] for index in found.retry],) if found.retry else (),
        dead_letters=letters,
    )
