"""A web.config.file is read, or refused with a sentence that names it and no secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import SettingsError
from receiver.server.web_config import WebConfig, parse

FILE = Path("conf/web.yml")


@pytest.mark.parametrize(
    "text", ["a: [", "a: 2020-13-45", "a: " + "9" * 5000, "[" * 3000, "- 1", "5", "a: !!python/x y", "\x00"]
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


@pytest.mark.parametrize(
    "text",
    [
        "a: *hunter2SECRET", "a: !hunter2SECRET x", "a: !!int ''", "a: !!float ''", "a: !!timestamp x",
        "a: !!bool hunter2SECRET", "a: !!python/object:hunter2SECRET {}", "a: &hunter2SECRET b\nc: &hunter2SECRET d",
        'a: "\\hunter2SECRET"', "a: |hunter2SECRET\n", "a: 'hunter2SECRET", "%hunter2SECRET x\n---\n- a\n  b",
        "basic_auth_users: {prom: hunter2SECRET", "hunter2SECRET", "- hunter2SECRET", "<<: hunter2SECRET",
        "basic_auth_users: {prom: hunter2SECRET}", "tls_server_config: {cert: hunter2SECRET}",
    ],
)  # fmt: skip
def test_no_error_quotes_a_secret(text: str) -> None:
    """Whatever stands where, and whatever YAML says of it; the place is named."""
    with pytest.raises(SettingsError) as refused:
        parse(text, Path("web.yml"))
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).startswith("web.yml: ")


@pytest.mark.parametrize("text", ["", "\n", "# all is commented out\n", "---\n"])
def test_an_empty_file_is_refused(text: str) -> None:
    """A full disk leaves one: it asks nobody for anything, which has to be written out."""
    with pytest.raises(SettingsError, match="the file is empty"):
        parse(text, Path("web.yml"))
    assert parse("{}", Path("web.yml")) == WebConfig()


def test_a_key_that_is_there_twice_is_refused() -> None:
    """The second would win, and might ask nobody for anything."""
    text = "basic_auth_users: {a: b}\nbasic_auth_users: {}\n"
    with pytest.raises(SettingsError, match="line 2, column 1: not YAML: a key is there twice"):
        parse(text, Path("web.yml"))
