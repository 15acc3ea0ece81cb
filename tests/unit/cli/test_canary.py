"""What `doctor` says of the answer to its one item: the policy's verdict, as a finding."""

import pytest

from receiver.azure.connection_string import Connection
from receiver.azure.verdict import judge
from receiver.cli.canary import _judged
from receiver.cli.findings import Mark

CONNECTION = Connection("00000000-0000-0000-0000-000000000000", "https://gate.example")
TAKEN = b'{"itemsReceived":1,"itemsAccepted":1,"errors":[]}'
LATER = b'{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":439,"message":"Daily quota exceeded"}]}'
TOO_LONG = b'{"itemsReceived":1,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"100: Field \'name\' is too long"}]}'


@pytest.mark.parametrize(
    ("status", "body", "mark", "words"),
    [
        (200, TAKEN, Mark.OK, "accepted an item"),
        (200, b"", Mark.WARN, "unknown whether the item was accepted"),
        (200, b"OK", Mark.FAIL, "200 OK (from https://gate.example): it refuses"),
        (204, b"", Mark.FAIL, "it refuses"),
        (201, b'{"id":1}', Mark.FAIL, "it refuses"),
        (206, LATER, Mark.FAIL, "the daily quota is used up"),
        (400, TOO_LONG, Mark.FAIL, "the item was rejected: 100: Field"),
        (400, b"", Mark.FAIL, "it refuses"),
        (413, b"<html>", Mark.FAIL, "it refuses"),
        (429, b"", Mark.WARN, "it asks to wait"),
        (503, b"", Mark.WARN, "it has a server error"),
    ],
)
def test_an_answer_is_a_finding(status: int, body: bytes, mark: Mark, words: str) -> None:
    """Nothing but the service's own word is "accepted an item"; each other one has a fix."""
    verdict = judge(status, {}, body, 1, 0.0, address=CONNECTION.endpoint)
    found = _judged(verdict, CONNECTION)
    assert found.mark is mark
    assert words in found.detail
    assert bool(found.fix) is (mark is not Mark.OK and "rejected" not in words)
