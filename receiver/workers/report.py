"""What a worker tells the front of what it has seen, so that the front can show all as one.

In, at the worker: requests, errors, names, metadata, counts. Out: a frame, when the front
asks. In, at the front: that frame. Out: the worker's `Arrivals`, and for the front's own
observation, troubles, metadata and allowlist what is new to them.

Counts are told as they stand, so a report that is lost costs nothing; what is new is told
once. The lines are a sample, bounded by what the front would look at: it says the share.
"""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from receiver.allowlist import Allowlist
from receiver.arrivals import Arrivals
from receiver.batch import Chunk
from receiver.decode import Message
from receiver.intake import Intake
from receiver.metadata import FAMILIES, Metadata, MetadataBook
from receiver.observation import BODY_BYTES, LINES_PER_SECOND, Observation
from receiver.troubles import Troubles
from receiver.workers.wire import Frame

NAMES_LIMIT = 5_000
"""Names that one report tells of; the others wait for the next."""


class _TellingBook(MetadataBook):
    """A book that remembers what in it is news."""

    def __init__(self) -> None:
        super().__init__()
        self.news: dict[str, Metadata] = {}

    def put(self, metadata: Metadata) -> None:
        if not self.knows(metadata) and len(self.news) < FAMILIES:
            self.news[metadata.family] = metadata
        super().put(metadata)


class Witness:
    """Sees what one of `workers` processes does, and tells of it."""

    def __init__(self, workers: int) -> None:
        """Start with nothing seen."""
        self.metadata = _TellingBook()
        self._lines_limit = max(1, LINES_PER_SECOND // workers)
        self._chunks: list[Chunk] = []
        self._lines = self._skipped = 0
        self._newest_ms = 0
        self._body: tuple[bytes, Message] | None = None
        self._troubles = Troubles(time.time)
        self._allowlist: Allowlist | None = None
        self._names_told = 0

    def saw(self, intake: Intake, raw: bytes, message: Message) -> None:
        """Take note of a request that was committed."""
        if intake.chunks:
            self._newest_ms = intake.newest_ms
        for chunk in intake.chunks:
            if self._lines < self._lines_limit:
                self._chunks.append(chunk)
                self._lines += chunk.items
            else:
                self._skipped += chunk.items
        if intake.received and len(raw) <= BODY_BYTES:
            self._body = (raw, message)

    def note(self, where: str, words: str, hint: str) -> None:
        """Take note of an error; any thread may."""
        self._troubles.note(where, words, hint)

    def report(self, arrivals: Arrivals, allowlist: Allowlist, *, look: bool, body: bool) -> Frame:
        """Tell of everything; of what flows when the front wants to `look`, with a `body` or not."""
        troubles, self._troubles = self._troubles, Troubles(time.time)
        families, self.metadata.news = self.metadata.news, {}
        head: dict[str, Any] = {
            "arrivals": arrivals.to_document(),
            "names": self._new_names(allowlist),
            "families": [
                (each.family, each.kind, each.help, each.unit) for each in families.values()
            ],
            "troubles": [
                (each.where, each.words, each.hint, each.count)
                for each in reversed(troubles.latest())
            ],
        }
        if not look:
            return Frame(head)
        chunks, skipped, self._chunks, self._skipped = self._chunks, self._skipped, [], 0
        text, items, self._lines = b"".join(each.text for each in chunks), self._lines, 0
        raw, message = self._body if body and self._body else (b"", None)
        if body:
            self._body = None
        head["flow"] = len(text), items, skipped, self._newest_ms, message
        return Frame(head, text + raw)

    def _new_names(self, allowlist: Allowlist) -> list[str]:
        """Name what was asked for since the last report; a new list begins anew."""
        names = allowlist.names_seen()
        if allowlist is not self._allowlist or len(names) < self._names_told:
            self._allowlist, self._names_told = allowlist, 0
        news = islice(names, self._names_told, self._names_told + NAMES_LIMIT)
        told = [name.decode("latin-1") for name in news]  # reversible, whatever the bytes
        self._names_told += len(told)
        return told


class Hearing:
    """Takes workers' reports in, for the front."""

    def __init__(
        self, observation: Observation, troubles: Troubles, metadata: MetadataBook
    ) -> None:
        """Tell these what the workers have seen."""
        self._observation = observation
        self._troubles = troubles
        self._metadata = metadata

    @property
    def wants_a_body(self) -> bool:
        """Whether the next report shall bring a request whose names are counted."""
        return self._observation.wants_a_body

    def hear(self, report: Frame, allowlist: Allowlist) -> Arrivals:
        """Take in a report, and its names into `allowlist`; returns what its worker has counted."""
        head = report.head
        for name in head["names"]:
            allowlist.wants(name.encode("latin-1"))
        for family in head["families"]:
            self._metadata.put(Metadata(*family))
        for trouble in head["troubles"]:
            self._troubles.note(*trouble)
        if "flow" in head:
            self._see(head["flow"], report.tail)
        return Arrivals.from_document(head["arrivals"])

    def _see(self, flow: Sequence[Any], tail: bytes) -> None:
        length, items, skipped, newest_ms, message = flow
        chunks, raw = [Chunk(tail[:length], items)] if items else [], tail[length:]
        self._observation.lines_skipped += skipped
        seen = Intake(chunks=chunks, newest_ms=newest_ms, received=len(raw))
        self._observation.saw(seen, raw, Message(message) if message else Message.V1)
