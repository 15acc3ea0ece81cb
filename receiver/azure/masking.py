"""Instrumentation keys in what people read: whoever has one can send to the resource.

In: the service's words, or an item. Out: the same with the key cut to its first eight letters,
which is enough to tell it from another. Pure.
"""

import re

_GUID = re.compile(r"([0-9a-fA-F]{8})-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_KEY = re.compile(r'("iKey"\s*:\s*"[^"]{0,8})[^"]*')


def mask_words(text: str) -> str:
    """Mask whatever looks like a key: the service quotes the one that it does not know."""
    return _GUID.sub(r"\1-…", text)


def mask_item(item: str) -> str:
    """Mask an item's key, and no label of it."""
    return _KEY.sub(r"\1…", item)
