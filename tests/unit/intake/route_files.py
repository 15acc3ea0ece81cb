"""routes.json files, and what is read of them."""

import json
from typing import Any

import pytest

from receiver.errors import SettingsError
from receiver.intake.routes import Routing
from receiver.intake.routes_json import parse

FILE = "conf/routes.json"


def route(name: str = "a", **fields: Any) -> dict[str, Any]:
    """Make a route; its connection string is in a file."""
    return {"name": name, "match": {"model": "a_*"}, "connection_string_file": "secret"} | fields


def routed(*routes: dict[str, Any], **more: Any) -> Routing:
    """Read a routes.json of these."""
    return parse(json.dumps({"routes": routes, **more}), FILE)


def refusal(document: Any) -> str:
    """Return the message with which a routes.json is refused."""
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    with pytest.raises(SettingsError) as refused:
        parse(text, FILE)
    return str(refused.value)
