"""Large answers under way: bounded in bytes all together, one body for the readers of one moment.

In: answers of pages. Out: leave to make one, the one that others are reading, and a count of
bytes. An answer is counted while anybody reads it. It is written in pieces, so that a reader
who does not read holds a reference to the body and no copy of it. Small answers fit into what a
connection may hold anyway and are not counted.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeGuard

from aiohttp import web

from receiver.errors import AnswersUnread

SMALL_BYTES = 64 << 10
FRESH_SECONDS = 1.0
"""So long an answer that is being read is given to others who ask for the same."""


@dataclass(eq=False, slots=True)
class Answer:
    """The body of a page, and what goes before it."""

    status: int
    headers: dict[str, str]
    body: bytes
    made_at: float
    readers: int = 0

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Write it, as fast as it is read. A reader that goes away is no error."""
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
    """Whether a response is to be counted while it is read."""
    return (
        isinstance(response, web.Response)
        and isinstance(response.body, bytes)
        and len(response.body) > SMALL_BYTES
    )


@dataclass(slots=True)
class Answers:
    """All large answers that somebody reads. `clock` is in seconds and never goes back."""

    max_bytes: int
    clock: Callable[[], float]
    size_bytes: int = 0
    _read: dict[str, Answer] = field(default_factory=dict)

    def current(self, key: str) -> Answer | None:
        """Find the answer to the same question that was made a moment ago and is being read."""
        answer = self._read.get(key)
        return answer if answer and self.clock() - answer.made_at < FRESH_SECONDS else None

    def refuse_when_full(self) -> None:
        """Refuse to make another. Raises: AnswersUnread."""
        if self.size_bytes >= self.max_bytes:
            raise AnswersUnread(f"answers that are being read hold {self.size_bytes} bytes")

    def make(self, response: web.Response) -> Answer:
        """Take a page's response, a large one."""
        assert isinstance(response.body, bytes)
        headers = {
            name: value
            for name, value in response.headers.items()
            if name not in {"Content-Length", "Date"}
        }
        return Answer(response.status, headers, response.body, self.clock())

    @contextmanager
    def reading(self, key: str, answer: Answer) -> Iterator[None]:
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
