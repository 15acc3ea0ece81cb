"""What the fuzzer once found stays found: the same inputs, without the fuzzer."""

from pathlib import Path

import pytest

from receiver.intake.decode import Message
from tests.property.reading import check, new_selections

FINDINGS = sorted((Path(__file__).parent / "findings").iterdir())


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_was_found_is_mended(path: Path) -> None:
    """Each is a message, behind a byte that says which: see target.py."""
    data = path.read_bytes()
    for selection in new_selections():
        check(selection, data[1:], Message.V1 if data[0] % 7 % 2 else Message.V2)
