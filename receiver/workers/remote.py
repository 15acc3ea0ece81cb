"""The outbox, as a worker has it: the front's, at the other end of a socket.

In: groups of submissions, from the committer's thread. Out: what became of each, once
the front has it on disk. A worker never opens the database.
"""

import socket
from collections.abc import Sequence

from receiver.batch import Settlement, Submission
from receiver.workers.sockets import receive, send
from receiver.workers.wire import Answer, pack_submissions, unpack_answers


class RemoteOutbox:
    """Stands in for `receiver.outbox.Outbox`, for what a worker does with one."""

    def __init__(self, front: socket.socket) -> None:
        """Speak to the front over a connected socket, in blocking mode."""
        self._front = front

    def apply(
        self, submissions: Sequence[Submission], settlements: Sequence[Settlement]
    ) -> list[Answer]:
        """Have the front commit all of these; returns when it has, or says why not.

        Raises: EOFError, OSError when the front is gone; what was committed by then
        is known to it as a repeat when it comes again.
        """
        assert not settlements, "a worker delivers nothing"
        send(self._front, pack_submissions(submissions))
        return unpack_answers(receive(self._front))

    def probe(self) -> None:
        """Do nothing: the front looks whether its disk can be written."""

    def replace_if_broken(self, _: BaseException) -> bool:
        """Leave it to the front."""
        return False

    def close(self) -> None:
        """Close the socket."""
        self._front.close()
