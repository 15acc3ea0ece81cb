"""A web.config.file is read, or refused with a sentence that names it and no secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import SettingsError
from receiver.server.web_config import WebConfig, parse

FILE = Path("conf/web.yml")


@pytest.mark.parametrize(
    "text", ["a: [", "a: 2020-13-45", "a: " + "9" * 5000, "[" * 20_000, "- 1", "5", "a: !!python/x y", "\x00"]
)  # fmt: skip
def test_what_yaml_cannot_read_is_a_sentence(text: str) -> None:
    """A date that is none, a number without end and brackets without end are no YAMLError."""
    with pytest.raises(SettingsError) as refused:
        parse(text, FILE)
    assert str(refused.value).startswith(f"{FILE}: ")
    assert len(str(refused.value)) < 200


@given(st.text(alphabet="a:-[]{}'\"!&*#|>%@,? \n0129", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """And nothing else is raised."""
    for each in (text, f"tls_server_config: {text}", f"basic_auth_users: {text}"):
        try:
            assert isinstance(parse(each, FILE), WebConfig)
        except SettingsError as error:
            assert str(error).startswith(f"{FILE}: ")  # noqa: PT017 - or nothing was raised
