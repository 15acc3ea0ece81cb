"""A request is told from every other by its body and by what it was declared to be."""

from receiver.intake.decode import Message
from receiver.server.write_handler import digest


def test_the_same_bytes_as_another_message_are_another_request() -> None:
    """What was committed as 1.0 says nothing about the same bytes as 2.0."""
    body = b"the same bytes"
    assert digest(body, Message.V1) == digest(body, Message.V1)
    assert digest(body, Message.V1) != digest(body, Message.V2)
    assert digest(body, Message.V1) != digest(body + b"!", Message.V1)
    assert len(digest(body, Message.V1)) == 16
