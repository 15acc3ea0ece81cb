"""Keys are not shown: their beginning tells them apart."""

from receiver.azure.masking import mask_item, mask_words

KEY = "12345678-9abc-def0-1234-56789abcdef0"


def test_a_key_in_the_service_s_words_is_masked() -> None:
    """In either case, as often as it is there."""
    assert mask_words(f"Invalid instrumentation key {KEY}, {KEY.upper()}!") == (
        "Invalid instrumentation key 12345678-…, 12345678-…!"
    )
    assert mask_words("429 Too many requests") == "429 Too many requests"


def test_an_item_s_key_is_masked_and_its_labels_are_not() -> None:
    """A pod's uid looks like a key and is none."""
    item = f'{{"time":"x","iKey":"{KEY}","data":{{"uid":"{KEY}"}}}}'
    assert mask_item(item) == f'{{"time":"x","iKey":"12345678…","data":{{"uid":"{KEY}"}}}}'
    assert mask_item('{"iKey": "short"}') == '{"iKey": "short…"}'
