"""The settlement of a batch, by the verdict on it. Pure.

In: the batch that was sent, and the verdict. Out: a `Settlement`: each item has its outcome, or
is sent again; some of the rejected items are kept as dead letters, with the service's messages.
"""

from collections import Counter
from collections.abc import Sequence

from receiver.azure.rejections import TOO_OLD, UNEXPLAINED
from receiver.azure.verdict import Verdict
from receiver.outbox.gzip_body import unpack
from receiver.outbox.values import Batch, DeadLetter, Settlement

DEAD_LETTERS_PER_BATCH = 50


def halves(batch: Batch) -> Settlement:
    """Return a settlement that replaces a batch by its halves. Raises: Damaged."""
    return Settlement(batch, again=_halves(unpack(batch.body)))


def _halves(lines: Sequence[bytes]) -> Sequence[Sequence[bytes]]:
    middle = len(lines) // 2
    return [half for half in (lines[:middle], lines[middle:]) if half]


def settlement(batch: Batch, verdict: Verdict, *, divide: bool = False) -> Settlement:
    """Return the settlement of a batch by its verdict. Raises: Damaged.

    `divide`: the items to send again are split into halves.
    """
    rejected = Counter(rejection.reason for rejection in verdict.rejected)
    expired = rejected.pop(TOO_OLD, 0)
    lines = unpack(batch.body) if verdict.retry or verdict.rejected else []
    again = [lines[index] for index in verdict.retry]
    letters = [
        DeadLetter(
            rejection.status,
            rejection.message,
            lines[rejection.index].decode("utf-8", "replace").rstrip(),
        )
        for rejection in verdict.rejected[:DEAD_LETTERS_PER_BATCH]
    ]
    if verdict.unexplained:
        rejected[UNEXPLAINED] += verdict.unexplained
        words = f"{verdict.unexplained} of {batch.items} items not accepted, without saying which"
        letters.append(DeadLetter(0, words, ""))
    return Settlement(
        batch,
        accepted=verdict.accepted,
        expired=expired,
        rejected=rejected,
        again=_halves(again) if divide else (again,) if again else (),
        dead_letters=letters,
    )
