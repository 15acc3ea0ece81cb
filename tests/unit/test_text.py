"""Others' text is shown to people and does nothing: no title set, no line forged."""

import unicodedata

import pytest

from receiver.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nv_gpu_utilization", "nv_gpu_utilization"),
        ("Größe in µs: 日本 🎉", "Größe in µs: 日本 🎉"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("one\nerror: forged", r"one\nerror: forged"),
        ("over\rwritten\t", r"over\rwritten\t"),
        ("\x9b2J", r"\x9b2J"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028paragraph\u2029next\x85", r"line\u2028paragraph\u2029next\x85"),
        ("no type \udcff", r"no type \udcff"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("", ""),
    ],
)
def test_text_is_made_printable(text: str, shown: str) -> None:
    """Letters of all languages stay; what a terminal obeys or hides becomes an escape."""
    assert printable(text) == shown


def test_no_control_or_format_character_is_left() -> None:
    """Whatever the code point, alone and among others; and the result can be encoded."""
    for first in range(0, 0x110000, 0x400):
        shown = printable("\0" + "".join(map(chr, range(first, first + 0x400))))
        seen = {unicodedata.category(character) for character in set(shown)}
        assert not seen & {"Cc", "Cf", "Cs", "Zl", "Zp"}, hex(first)
        shown.encode()
    for code in (*range(0x3000), *range(0xD7F0, 0x10000), *range(0xE0000, 0xE0200)):
        assert printable(chr(code)) in printable(f"\0{chr(code)}"), hex(code)
