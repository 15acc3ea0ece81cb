"""Masks instrumentation keys in logs and pages, since a key allows sending to the resource.

In: the service's message, or an item. Out: the same with keys cut to their first eight
letters, which are enough to distinguish keys. Pure.
"""

import re

_GUID = re.compile(r"([0-9a-fA-F]{8})-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_KEY = re.compile(r'("iKey"\s*:\s*"[^"]{0,8})[^"]*')


def mask_words(text: str) -> str:
    """Mask everything that looks like a key: the service quotes an unknown key."""
    return _GUID.sub(r"\1-…", text)


def mask_item(item: str) -> str:
    """Mask an item's key, but not its labels."""
    return _KEY.sub(r"\1…", item)
