"""The handover of folded series between receivers, over HTTP: list, take over, release.

In: requests of the verb `handover`. Out: answers, once their result is on disk.
`receiver.fold.takeover` has the rules, docs/http-api.md the documents.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
import structlog
from aiohttp import web

from receiver.errors import NotCommitted
from receiver.fold.folder import Folder
from receiver.fold.takeover import Held, Taken
from receiver.outbox.committer import Committer
from receiver.server.answers import json_response
from receiver.server.write_handler import WriteHandler

SERIES_MAX = 5_000
"""Series in one request or answer; aiohttp answers 413 to a request of more than 1 MiB."""

log = structlog.get_logger()

Response = Awaitable[web.Response]


class Handover:
    """The HTTP interface of one receiver's folded series."""

    def __init__(
        self,
        committer: Committer,
        folder: Folder,
        write_handler: WriteHandler,
        clock: Callable[[], float],
    ) -> None:
        """Prepare. `write_handler` has the metrics.json in force; `clock` is in seconds since the epoch."""
        self._committer = committer
        self._folder = folder
        self._write_handler = write_handler
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/fold/series", self.held),
            web.post("/api/v1/fold/take", self._guarded(self._take)),
            web.post("/api/v1/fold/release", self._guarded(self._release)),
        ]

    async def held(self, request: web.Request) -> web.Response:
        """List folded series with numbers above `after`, with their last samples."""
        after = request.query.get("after", "0")
        if not after.isdecimal() or len(after) > 15:
            raise web.HTTPBadRequest(text="after is not a whole number of at least 0\n")

        def query(outbox: Any) -> dict[str, Any]:
            rows = outbox.folded_series(int(after), SERIES_MAX)
            return {
                "after": rows[-1][0] if rows else None,
                "series": [
                    {"number": held.number, "labels": orjson.Fragment(labels), "time_ms": held.time_ms, "value": held.value}
                    for held, labels in self._folder.held(rows)
                ],
            }  # fmt: skip

        try:
            return json_response(await self._committer.ask(query))
        except NotCommitted as error:
            return json_response({"error": str(error)}, 503)

    def _guarded(self, work: Callable[[Any], Awaitable[Any]]) -> Callable[[web.Request], Response]:
        """Return a handler that reads a request's series; invalid ones are answered 400."""

        async def handler(request: web.Request) -> web.Response:
            try:
                series = orjson.loads(await request.read())["series"]
                if not isinstance(series, list) or len(series) > SERIES_MAX:
                    return json_response(
                        {"error": f"series is not a list of at most {SERIES_MAX}"}, 400
                    )
                return json_response(await work(series))
            except (KeyError, TypeError, ValueError) as error:
                return json_response({"error": f"invalid request: {error}"}, 400)
            except NotCommitted as error:
                return json_response({"error": str(error)}, 503)

        return handler

    async def _take(self, series: list[Any]) -> Any:
        """Continue series from another receiver's last samples."""
        outcomes: list[str] = []
        given: list[Held] = []
        allowlist = self._write_handler.pipeline.allowlist
        for entry in series:
            labels = _labels(entry["labels"])
            time_ms, value = int(entry["time_ms"]), float(entry["value"])
            if not -(1 << 62) < time_ms < 1 << 62:
                raise ValueError("time_ms is out of range")
            number = 0
            if allowlist.folds(labels["__name__"]):
                number = self._folder.registry.number_of(labels)
                outcomes.append("" if number else Taken.NO_ROOM)
            else:
                outcomes.append(Taken.NOT_FOLDED)
            if number:
                given.append(Held(number, time_ms, value))
        now_ms = round(self._clock() * 1000)
        taken = await self._committer.change_fold(lambda: self._folder.take_over(given, now_ms))
        later = iter(taken)
        answer = [outcome or next(later) for outcome in outcomes]
        log.info("folded series were taken over", series=answer.count(Taken.TAKEN), of=len(series))
        return {"outcomes": answer}

    async def _release(self, series: list[Any]) -> Any:
        """Forget series that another receiver took over."""
        given = [(int(number), int(time_ms)) for number, time_ms in series]
        now_ms = round(self._clock() * 1000)
        newer = await self._committer.change_fold(lambda: self._folder.release(given, now_ms))
        log.info("folded series were released", series=len(given) - len(newer), of=len(given))
        return {"newer": sorted(newer)}


def _labels(given: Any) -> Mapping[str, str]:
    if not isinstance(given, dict) or not given.get("__name__"):
        raise ValueError("labels have no __name__")
    if not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise ValueError("labels are not texts")
    return given
