"""The fast path with its loops compiled: what receiver.intake.fastpath does, at a third of its cost.

In: a decompressed request. Out: `Found`. `receiver.kernel` (kernel.c) opens the request,
looks names and series up by their bytes, and joins the lines; here is what a newcomer
costs: its name is asked for in the allowlist, its labels are parsed and its template made.
Without a C compiler at installation there is no kernel, and receiver.intake.fastpath takes its
place: slower, and with the same results, which tests hold the two to.

A key of remote-write 1.0 is a series' label section as it is on the wire; one of 2.0 its
labels' texts, each behind its size (4 bytes): numbers differ from request to request.
"""

import struct
from collections.abc import Iterator, Sequence

import orjson

from receiver.azure.envelope import LINE_END, LINE_START, Template
from receiver.intake.cache import CacheStatistics
from receiver.intake.decode import DEFAULT_LIMITS, Message
from receiver.intake.learn import (
    LINE_OVERHEAD_BYTES,
    NAMES_LIMIT_BYTES,
    Found,
    Learn,
    check_rendered,
    learn_series,
    only_labels,
)
from receiver.intake.limits import Limits
from receiver.intake.metrics_json import Allowlist
from receiver.outbox.batch import CHUNK_BYTES, CHUNK_ITEMS, Chunk

try:
    from receiver import kernel
except ImportError:
    IS_COMPILED = False
else:
    IS_COMPILED = True

UNWANTED, WANTED = b"\1", b"\2"
"""What is kept of a name; as in kernel.c."""
_VERSIONS = {Message.V1: 1, Message.V2: 2}


class CompiledPath:
    """Remembers what bytes mean, for one metrics.json: a new one needs a new CompiledPath."""

    def __init__(
        self,
        allowlist: Allowlist,
        cache_bytes: int,
        learn: Learn,
        common: bytes,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Keep at most `cache_bytes` of templates; what they all begin with, `common`, once."""
        self._allowlist = allowlist
        self._learn = learn
        self._common = common
        self._limits = limits
        self._names = kernel.Table(NAMES_LIMIT_BYTES)
        self._series = kernel.Table(cache_bytes)

    def read(self, raw: bytes, message: Message) -> Found | None:
        """Recognise what can be recognised; None for a request that is unusual as a whole.

        Raises: TooMuchToRender.
        """
        reading = kernel.read(
            raw, _VERSIONS[message], self._names, self._series, self._limits.series
        )
        if reading is None:
            return None
        learnt: list[Template] = []
        odd = dict(self._newcomers(reading, message, learnt))
        finite, oldest_ms, newest_ms, rendered_bytes, not_finite = reading.measure()
        series, unselected = reading.counts()
        rendered_bytes += (finite + len(not_finite)) * len(self._common)
        check_rendered(rendered_bytes, self._limits)

        def finish(odd_lines: Sequence[Sequence[bytes]]) -> list[Chunk]:
            for place, lines in zip(odd, odd_lines, strict=True):
                reading.place(place, list(lines))
            texts = orjson.dumps(reading.values())[1:-1]
            chunks = reading.render(
                texts, LINE_START, self._common, LINE_END, CHUNK_ITEMS, CHUNK_BYTES
            )
            return [Chunk(*chunk) for chunk in chunks]

        return Found(
            series,
            unselected,
            list(odd.values()),
            reading.symbols() if odd else (),
            not_finite,
            (oldest_ms, newest_ms) if finite else (),
            rendered_bytes,
            learnt,
            finish,
        )

    def _newcomers(
        self, reading: "kernel.Reading", message: Message, learnt: list[Template]
    ) -> Iterator[tuple[int, bytes]]:
        """Learn what can be learnt of the series that are not recognised; the others are odd.

        Raises: TooMuchToRender, before all of them are there.
        """
        rendered_bytes = 0
        for place in reading.strange():
            each, name, key = reading.look(place)
            if name and not self._wants(name) and (key or message is Message.V1):
                reading.drop(place)
            elif key and (middle := self._middle(key, message, learnt)):
                rendered_bytes += len(self._common) + len(middle) + LINE_OVERHEAD_BYTES
                check_rendered(rendered_bytes, self._limits)
                reading.give(place, middle)
            else:
                yield place, each

    def _wants(self, name: bytes) -> bool:
        verdict = self._names.get(name)
        if verdict is None:
            verdict = WANTED if self._allowlist.wants(name) else UNWANTED
            self._names.put(name, verdict)
        return verdict == WANTED

    def _middle(self, key: bytes, message: Message, learnt: list[Template]) -> bytes | None:
        if middle := self._series.get(key):
            return middle
        if len(key) > 4 * self._limits.label_bytes:
            return None
        pairs = only_labels(key) if message is Message.V1 else _texts(key)
        template = learn_series(pairs, self._allowlist, self._limits, self._learn)
        if template is None or not template.middle.startswith(self._common):
            return None
        middle = template.middle.removeprefix(self._common)
        self._series.put(key, middle)
        learnt.append(template)
        return middle

    def statistics(self) -> CacheStatistics:
        """Count the series that are known."""
        return CacheStatistics(*self._series.statistics())


def _texts(key: bytes) -> list[bytes]:
    """Read the texts of a key of 2.0."""
    texts = []
    place = 0
    while place < len(key):
        (size,) = struct.unpack_from("<L", key, place)
        texts.append(key[place + 4 : place + 4 + size])
        place += 4 + size
    return texts
