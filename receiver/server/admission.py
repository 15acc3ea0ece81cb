"""Admission control: the limits on requests in flight and on their bytes.

In: the start of a request, the bytes of its body, the start and end of its work. Out:
permission, or `Overloaded`. Never waits: a request without permission is answered 503
before its body is read, and the sender keeps the data. When incomplete bodies use up the
bytes, the largest of them is abandoned, so that a few senders that never finish cannot
lock out the rest.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from receiver.errors import Overloaded, TooLargeInFlight

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """Requests in flight: bodies being read, requests being processed, and their bytes."""

    reading: int
    working: int
    size_bytes: int


class Admission:
    """The limits that all requests share, and their use."""

    def __init__(self, requests_max: int, max_bytes: int) -> None:
        """Set the limits: requests processed at once, and the bytes of all requests."""
        self._requests_max = requests_max
        self._max_bytes = max_bytes
        self.size_bytes = 0
        self.working = 0
        self.reading: dict[Lease, None] = {}

    def enter(self) -> "Lease":
        """Admit a request's body. Raises: Overloaded."""
        self.refuse_when_full()
        return Lease(self)

    def statistics(self) -> AdmissionStatistics:
        """Count the requests in flight."""
        return AdmissionStatistics(len(self.reading), self.working, self.size_bytes)

    def refuse_when_full(self) -> None:
        """Refuse a request above the limit. Raises: Overloaded."""
        if self.working >= self._requests_max:
            raise Overloaded(f"{self.working} requests are in flight")

    def free_bytes_for(self, lease: "Lease") -> None:
        """Abandon the largest bodies until this one is within the limit. Raises: Overloaded."""
        if lease.size_bytes > self._max_bytes:  # a retry would fail too
            message = f"the body has {lease.size_bytes} bytes or more; all requests in flight together may hold {self._max_bytes}"
            raise TooLargeInFlight(message)
        while self.size_bytes > self._max_bytes:
            largest = max(self.reading, key=lambda other: other.size_bytes, default=lease)
            if largest is lease or not largest.size_bytes:  # the rest is being processed
                raise Overloaded(f"requests in flight hold {self._max_bytes} bytes")
            largest.release()
            largest.give_up()


class Lease:
    """One request's share of the limits, released at the end of its context.

    `give_up` is called if the request is abandoned for others: while its body is read.
    """

    def __init__(self, admission: Admission) -> None:
        """Start with no bytes."""
        self.give_up: Callable[[], object] = lambda: None
        self.size_bytes = 0
        self._admission = admission
        self._is_working = False

    def grow(self, size_bytes: int) -> None:
        """Add bytes of a body that is being read. Raises: Overloaded."""
        self.size_bytes += size_bytes
        self._admission.size_bytes += size_bytes
        self._admission.free_bytes_for(self)

    def work(self) -> None:
        """Start processing: the body is complete. Raises: Overloaded."""
        self._admission.refuse_when_full()
        self._admission.reading.pop(self, None)
        self._admission.working += 1
        self._is_working = True

    def hold(self, size_bytes: int) -> None:
        """Count the processed bytes in place of the body; they exist already and are never refused."""
        self._admission.size_bytes += size_bytes - self.size_bytes
        self.size_bytes = size_bytes

    def release(self) -> None:
        """Release the request's share."""
        self._admission.size_bytes -= self.size_bytes
        self.size_bytes = 0
        self._admission.reading.pop(self, None)
        self._admission.working -= self._is_working
        self._is_working = False

    def __enter__(self) -> Self:
        self._admission.reading[self] = None
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
