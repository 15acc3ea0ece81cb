"""How much may be under way at once, and who goes when it is too much.

In: requests that begin, bytes that come, work that begins and ends. Out: leave, or
`Overloaded`. Never waits: who gets no leave is answered 503 before its body has cost
anything, and its sender keeps the data. When bodies that are still coming fill the
room, the one that holds most is given up for the others, so that a few senders that
never finish cannot lock out the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from receiver.errors import Overloaded, TooLargeInFlight


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """What is under way: bodies that are coming in, requests at work, and their bytes."""

    reading: int
    working: int
    size_bytes: int


@dataclass(eq=False, slots=True)
class _Room:
    """What requests hold, all together."""

    requests_max: int
    max_bytes: int
    size_bytes: int = 0
    working: int = 0
    reading: dict["Lease", None] = field(default_factory=dict)

    def refuse_when_full(self) -> None:
        if self.working >= self.requests_max:
            raise Overloaded(f"{self.working} requests are under way")

    def make_room(self, lease: "Lease") -> None:
        if lease.size_bytes > self.max_bytes:  # no retry would fit
            message = f"the body has {lease.size_bytes} bytes or more; all in flight may hold {self.max_bytes}"
            raise TooLargeInFlight(message)
        while self.size_bytes > self.max_bytes:
            largest = max(self.reading, key=lambda each: each.size_bytes, default=lease)
            if largest is lease or not largest.size_bytes:
                raise Overloaded(f"requests under way hold {self.max_bytes} bytes")
            largest.release()
            largest.give_up()


class Admission:
    """The room that all requests share."""

    def __init__(self, requests_max: int, max_bytes: int) -> None:
        """Set the limits: requests decoded or committed at once, and bytes of all."""
        self._room = _Room(requests_max, max_bytes)

    def enter(self, give_up: Callable[[], object]) -> "Lease":
        """Let a request's body come in; `give_up` is called if it has to go for others.

        Raises: Overloaded.
        """
        self._room.refuse_when_full()
        return Lease(self._room, give_up)

    def statistics(self) -> AdmissionStatistics:
        """Count what is under way."""
        room = self._room
        return AdmissionStatistics(len(room.reading), room.working, room.size_bytes)


class Lease:
    """What one request holds of the room. Used as a context, it gives all back."""

    def __init__(self, room: _Room, give_up: Callable[[], object]) -> None:
        """Hold nothing yet."""
        self.give_up = give_up
        self.size_bytes = 0
        self._room = room
        self._is_working = False

    def grow(self, size_bytes: int) -> None:
        """Hold so many bytes more of a body that comes in. Raises: Overloaded."""
        self.size_bytes += size_bytes
        self._room.size_bytes += size_bytes
        self._room.make_room(self)

    def work(self) -> None:
        """Begin with the work: the body is here. Raises: Overloaded."""
        self._room.refuse_when_full()
        self._room.reading.pop(self, None)
        self._room.working += 1
        self._is_working = True

    def hold(self, size_bytes: int) -> None:
        """Hold what the work has made, in place of the body; it is there and cannot be refused."""
        self._room.size_bytes += size_bytes - self.size_bytes
        self.size_bytes = size_bytes

    def release(self) -> None:
        """Give all back."""
        self._room.size_bytes -= self.size_bytes
        self.size_bytes = 0
        self._room.reading.pop(self, None)
        self._room.working -= self._is_working
        self._is_working = False

    def __enter__(self) -> Self:
        self._room.reading[self] = None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
