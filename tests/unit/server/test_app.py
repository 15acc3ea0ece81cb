"""What a request is refused for before its body is decoded."""

from types import SimpleNamespace

import pytest

from receiver.errors import MemoryShort
from receiver.server.app import App
from receiver.server.memory_limit import Limit, MemoryLimit

MIB = 1 << 20


def refuse(declared: bytes, limit_mib: int) -> None:
    """Look at a body that begins with its declared length, under a limit of which 50 MiB are used."""
    memory = MemoryLimit([Limit("a limit", limit_mib * MIB, lambda: 50 * MIB)], lambda: 0)
    app = SimpleNamespace(
        _write_handler=SimpleNamespace(
            pipeline=SimpleNamespace(limits=SimpleNamespace(decoded_bytes=32 * MIB))
        ),
        _shared=SimpleNamespace(memory=memory),
    )
    App._refuse_without_memory(app, declared)  # type: ignore[arg-type]


def test_a_body_for_which_memory_may_be_short_comes_again() -> None:
    """30 MiB take 120 at most, beside the reserve."""
    thirty = b"\x80\x80\x80\x0f"
    refuse(thirty, 200)
    with pytest.raises(MemoryShort):
        refuse(thirty, 160)


def test_a_body_that_is_too_large_does_not() -> None:
    """It is for the decoder to refuse for good: 503 would bring it back for ever."""
    refuse(b"\x80\x80\x80\x80\x0f", 160)
