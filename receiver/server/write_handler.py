"""The handler of one write request, from its body to its answer.

In: a body and the type of message that its headers declare. Out: a `Reply`, once all
selected samples are on disk. Runs the stages in order; of HTTP it knows only the status:
HTTP is in `receiver.server.write_endpoint`.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import structlog

from receiver.intake.decode import Message, Raw, decompress
from receiver.intake.pipeline import Outcome, Pipeline
from receiver.latency import Latency
from receiver.ledger import Totals
from receiver.outbox.committer import Committer
from receiver.outbox.store import Outbox
from receiver.outbox.values import Submission

TEXT_LIMIT = 1000
"""Limit of an answer's text in bytes: senders log at most 1,024."""
UNREADABLE_HINT = (
    "The next replica that writes leads its cluster. A defect of the receiver: please report it."
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer. Only senders of 2.0 get the `written_*` counts."""

    status: int
    text: str = ""
    written_samples: int = 0
    written_histograms: int = 0
    written_exemplars: int = 0


@dataclass(slots=True)
class WriteCounts:
    """Counts of requests since the process started, beside those of the ledger.

    `clock` is in seconds since the epoch.
    """

    replies: Counter[str] = field(default_factory=Counter)
    refused_series: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    labels_cut: int = 0
    labels_left_out: int = 0
    lost_bytes: int = 0
    last_request_at: float = 0.0
    latency: Latency = field(default_factory=Latency)
    clock: Callable[[], float] = field(default=time.time, repr=False, compare=False)

    def answered(self, status: int, seconds: float | None = None) -> None:
        """Count an answer; `seconds` is the time that its handler took, if one did."""
        self.replies[str(status)] += 1
        self.last_request_at = self.clock()
        if seconds is not None:
            self.latency.observe(seconds)


class WriteHandler:
    """Handles requests. `pipeline` may be replaced between two requests."""

    def __init__(
        self,
        pipeline: Pipeline,
        committer: Committer,
        on_accepted: Callable[[Outcome, Raw, Message], None] = lambda *_: None,
    ) -> None:
        """Wire the stages; `on_accepted` is called once for each accepted request."""
        self.pipeline = pipeline
        self._committer = committer
        self._on_accepted = on_accepted
        self.counts = WriteCounts()

    async def handle(
        self, body: bytes, message: Message, hold: Callable[[int], object] = lambda _: None
    ) -> Reply:
        """Decode, select, render and commit one request.

        `hold` is called with the number of bytes to commit, once it is known.

        Raises: RequestRefused, with nothing of the request committed.
        """
        if self.pipeline.replicas is not None:
            await self.begin()
        raw = decompress(body, self.pipeline.limits.decoded_bytes)
        outcome = self.pipeline.process(raw, message)
        reply = _reply(outcome)
        totals = _totals(outcome)
        earlier = None
        if outcome.chunks or outcome.folded:
            hold(sum(len(chunk.text) for chunk in outcome.chunks) + len(outcome.folded))
            earlier = await self._committer.submit(
                Submission(
                    outcome.chunks,
                    outcome.oldest_ms,
                    outcome.newest_ms,
                    totals,
                    digest=digest(body, message),
                    answer=orjson.dumps(reply),
                    folded=outcome.folded,
                    notes=outcome.notes,
                )
            )
        else:
            self._committer.count(totals)
        if earlier is not None:
            self.counts.repeated += 1
            return Reply(**orjson.loads(earlier))
        self.counts.refused_series.update(outcome.refused)
        self.counts.labels_cut += outcome.labels_cut
        self.counts.labels_left_out += outcome.labels_left_out
        self._on_accepted(outcome, raw, message)
        return reply

    async def begin(self) -> None:
        """Load the leaders of replicas from the outbox, if there are replicas.

        Raises: NotCommitted, until the outbox is open.
        """
        replicas = self.pipeline.replicas
        if replicas is None or replicas.is_loaded:
            return
        notes = await self._committer.ask(Outbox.notes)
        if not replicas.is_loaded:  # another request may have come first
            for name in replicas.load(notes):
                log.error("a note in the outbox cannot be read", name=name, hint=UNREADABLE_HINT)


def digest(body: bytes, message: Message) -> bytes:
    """Return a request's identity: a hash of its body and its declared type of message.

    SHA-256, for which today's processors have instructions: half of BLAKE2b's time.
    """
    digester = hashlib.sha256(message.value.encode())
    digester.update(body)
    return digester.digest()[:16]


def _totals(outcome: Outcome) -> Totals:
    return {
        ("received", ""): outcome.received,
        ("unselected", ""): outcome.unselected,
        ("folded", ""): outcome.folded_samples,
        **{("dropped", reason): count for reason, count in outcome.dropped.items()},
    }


def _reply(outcome: Outcome) -> Reply:
    written = outcome.written_samples, outcome.written_histograms, outcome.written_exemplars
    if not outcome.refused:
        return Reply(204, "", *written)
    kinds = ", ".join(f"{reason}: {count}" for reason, count in sorted(outcome.refused.items()))
    examples = "; ".join(outcome.refused_examples)
    count = sum(outcome.refused.values())
    text = f"{count} series refused ({kinds}): {examples}. The rest of the request was accepted."
    return Reply(400, text[:TEXT_LIMIT], *written)
