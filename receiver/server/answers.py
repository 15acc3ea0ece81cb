"""Large answers in flight: limited in total bytes, and shared by simultaneous readers.

In: answers of pages. Out: permission to make one, an answer that is already being read, and
a count of bytes. An answer counts while it is being read. It is written in pieces, so that
a slow reader holds a reference to the body instead of a copy. Small answers fit into a
connection's buffers and are not counted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import orjson
from aiohttp import web

from receiver.errors import AnswersUnread

SMALL_BYTES = 64 << 10
FRESH_SECONDS = 1.0
"""Age up to which an answer that is being read is shared with equal requests."""


@dataclass(eq=False, slots=True)
class PageAnswer:
    """The body, status and headers of a page."""

    status: int
    headers: dict[str, str]
    body: bytes
    made_at: float
    readers: int = 0

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Write the answer as fast as it is read. A reader that disconnects is not an error."""
        response = web.StreamResponse(status=self.status, headers=self.headers)
        response.content_length = len(self.body)
        body = memoryview(self.body)
        try:
            await response.prepare(request)
            for start in range(0, len(body), SMALL_BYTES):
                await response.write(body[start : start + SMALL_BYTES])
            await response.write_eof()
        except ConnectionError:
            response.force_close()
        return response


def is_large(response: web.StreamResponse) -> TypeGuard[web.Response]:
    """Whether a response counts while it is read."""
    return (
        isinstance(response, web.Response)
        and isinstance(response.body, bytes)
        and len(response.body) > SMALL_BYTES
    )


@dataclass(slots=True)
class Answers:
    """All large answers that are being read. `clock` is monotonic, in seconds."""

    max_bytes: int
    clock: Callable[[], float]
    size_bytes: int = 0
    _read: dict[str, PageAnswer] = field(default_factory=dict)

    def current(self, key: str) -> PageAnswer | None:
        """Return a recent answer to the same request that is being read, if there is one."""
        answer = self._read.get(key)
        return answer if answer and self.clock() - answer.made_at < FRESH_SECONDS else None

    def refuse_when_full(self) -> None:
        """Refuse to make another answer at the limit. Raises: AnswersUnread."""
        if self.size_bytes >= self.max_bytes:
            raise AnswersUnread(f"answers that are being read hold {self.size_bytes} bytes")

    def make(self, response: web.Response) -> PageAnswer:
        """Make an answer of a page's large response."""
        assert isinstance(response.body, bytes)
        headers = {
            name: value
            for name, value in response.headers.items()
            if name not in {"Content-Length", "Date"}
        }
        return PageAnswer(response.status, headers, response.body, self.clock())

    @contextmanager
    def reading(self, key: str, answer: PageAnswer) -> Iterator[None]:
        """Count an answer while it is read. Raises: AnswersUnread."""
        if not answer.readers:
            if self.size_bytes + len(answer.body) > self.max_bytes:
                raise AnswersUnread(f"answers that are being read hold {self.size_bytes} bytes")
            self.size_bytes += len(answer.body)
            self._read[key] = answer
        answer.readers += 1
        try:
            yield
        finally:
            answer.readers -= 1
            if not answer.readers:
                self.size_bytes -= len(answer.body)
                if self._read.get(key) is answer:
                    del self._read[key]


def json_response(content: Any, status: int = 200) -> web.Response:
    """Return an answer of JSON, which no cache keeps."""
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)
