"""What delivery knows of Application Insights, behind two functions."""

import pytest

from receiver.azure.destination import Destination
from receiver.azure.policy import Action
from receiver.errors import Damaged
from receiver.outbox.gzip_body import compress, unpack

OLD, NEW = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def line(key: str, label: str) -> bytes:
    """Make an item whose label may look like the key's field."""
    return f'{{"time":"t","name":"n","iKey":"{key}","data":{{"label":{label}}}}}\n'.encode()


def test_a_body_of_the_same_key_is_the_same() -> None:
    """Not even unpacked."""
    assert Destination(NEW).body_for(b"whatever it is", NEW) == b"whatever it is"


def test_a_body_of_another_key_gets_this_one_s() -> None:
    """Once an item: what a label holds is nobody's key."""
    trap = '"\\"iKey\\":\\"' + OLD + '\\""'
    body = compress([line(OLD, trap), line(OLD, '"b"')])
    assert unpack(Destination(NEW).body_for(body, OLD)) == [line(NEW, trap), line(NEW, '"b"')]


def test_a_damaged_body_says_so() -> None:
    """It cannot be given another key."""
    with pytest.raises(Damaged):
        Destination(NEW).body_for(b"rubbish", OLD)


@pytest.mark.parametrize(("signed_in", "fix"), [(True, "role"), (False, "no identity")])
def test_whether_a_token_is_sent_decides_what_a_refusal_means(
    signed_in: bool,  # noqa: FBT001
    fix: str,
) -> None:
    """A 403 without an identity is no missing role."""
    verdict = Destination(NEW, signed_in=signed_in).judge(403, {}, b"", 1, 0.0, "https://x")
    assert verdict.action is Action.BLOCKED
    assert fix in verdict.hint
