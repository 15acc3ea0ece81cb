"""The reader of routes.json.

In: the file's text. Out: `Routing`, without the resources' keys, or a message with the mistake's
place. Pure: reads no files, and no secret but those in the text.

The format: {"routes": [{"name": "team-a", "match": {"model": "a_*"}, "connection_string_file":
"/run/secrets/team-a"}, ...], "unmatched": "default"}.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from receiver.errors import SettingsError
from receiver.intake.json_file import (
    JsonFile,
    Mistake,
    Pairs,
    fields_of,
    kind,
    nearest,
    read_json,
    short,
)
from receiver.intake.routes import OWN_ROUTE, Matchers, Route, Routing
from receiver.text import read_size

KEY = "routes"
UNMATCHED = "unmatched"
DROP = "drop"
ROUTES_MAX = 100
"""Limit of routes: every route has connections and a share of the outbox."""
GLOBS_MAX = 64
ROUTE_NAME_LIMIT = 63
KEYS = ("name", "match", "connection_string_file", "connection_string", "authentication_string",
        "items_per_second", "senders", "outbox_max_bytes", "proxy")  # fmt: skip
_MEANT = {"labels": "match", "matchers": "match", "matcher": "match", "selector": "match", "when": "match",
          "connectionstring": "connection_string", "secret": "connection_string_file", "file": "connection_string_file",
          "key_file": "connection_string_file", "instrumentation_key": "connection_string", "route": "name", "team": "name",
          "auth": "authentication_string", "rate": "items_per_second", "pace": "items_per_second",
          "max_bytes": "outbox_max_bytes", "share": "outbox_max_bytes", "https_proxy": "proxy"}  # fmt: skip
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_LABEL = re.compile(r"[^\x00-\x1f\x7f{}\"=,!~\ud800-\udfff]+")
_EXAMPLE = f'{{"{KEY}": [{{"name": "team-a", "match": {{"model": "a_*"}}, "connection_string_file": "/run/secrets/team-a"}}]}}'  # fmt: skip


def parse(text: str | bytes, source: str) -> Routing:
    """Parse routes.json; `keys` are empty, since connection strings are read later.

    Raises: SettingsError, which names the file, the place and the nearest right spelling.
    """
    file = read_json(text, source, KEY, _EXAMPLE)
    entries = file.entries("routes", "so it routes nothing; take the file out of RECEIVER_ROUTES", (UNMATCHED,))  # fmt: skip
    if len(entries) > ROUTES_MAX:
        raise SettingsError(f"{source}: {len(entries)} routes, more than the {ROUTES_MAX} allowed")
    unmatched = file.other(UNMATCHED)
    if unmatched not in (None, OWN_ROUTE, DROP):
        given = f'"{short(unmatched)}"' if isinstance(unmatched, str) else kind(unmatched)
        raise SettingsError(f'{source}: "{UNMATCHED}" is {given}; it is "{OWN_ROUTE}" (the receiver\'s own connection string) or "{DROP}"')  # fmt: skip
    routes = _checked(file, entries)
    return Routing(tuple(routes), drops_unmatched=unmatched == DROP)


def _checked(file: JsonFile, entries: Sequence[Any]) -> list[Route]:
    routes: list[Route] = []
    for index, value in enumerate(entries):
        try:
            if not isinstance(value, Pairs):
                raise Mistake(f"is {kind(value)}, not a route like {_EXAMPLE[len(KEY) + 6 : -2]}")
            route = _read(fields_of(value))
            _check_order(route, routes)
        except Mistake as mistake:
            raise SettingsError(file.message(mistake, index, value)) from mistake
        routes.append(route)
    return routes


def _check_order(route: Route, before: Sequence[Route]) -> None:
    """Refuse a duplicate route, and one that an earlier route leaves no series."""
    for number, other in enumerate(before):
        if other.name == route.name:
            raise Mistake(f"is the name of {KEY}[{number}] too; its series would share its resource: join the two by a list of globs", "name")  # fmt: skip
        if not other.match:
            raise Mistake(f"can never be taken: {KEY}[{number}] before it takes all series; put it last")  # fmt: skip
        if other.match == route.match:
            raise Mistake(f"is that of {KEY}[{number}], which takes all its series; take one of them out", "match")  # fmt: skip


def _read(fields: Mapping[str, Any]) -> Route:
    """Make a route of an object's fields. Raises: Mistake."""
    for key in fields:
        if key not in KEYS:
            raise Mistake(f'unknown key "{short(key)}"{nearest(key, KEYS, _MEANT)}')
    file, inline = _text(fields, "connection_string_file"), _text(fields, "connection_string")
    if file and inline:
        raise Mistake('"connection_string" and "connection_string_file" are both set; keep one', "connection_string")  # fmt: skip
    if not file and not inline:
        raise Mistake('has no "connection_string_file": the file that holds the connection string of its resource')  # fmt: skip
    authentication = _text(fields, "authentication_string") if "authentication_string" in fields else None  # fmt: skip
    return Route(
        _name(fields),
        _match(fields),
        inline,
        file,
        authentication,
        _count(fields, "items_per_second"),
        _count(fields, "senders"),
        _size(fields),
        _text(fields, "proxy") if "proxy" in fields else None,
    )


def _name(fields: Mapping[str, Any]) -> str:
    if "name" not in fields:
        raise Mistake('has no "name": what the page, the metrics and the outbox call it, like "team-a"')  # fmt: skip
    name = fields["name"]
    if not isinstance(name, str):
        raise Mistake(f"is {kind(name)}, not a name in quotes", "name")
    if name == OWN_ROUTE:
        raise Mistake(f'"{OWN_ROUTE}" is the receiver\'s own route; choose another', "name")
    if len(name) > ROUTE_NAME_LIMIT or not _NAME.fullmatch(name):
        better = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:ROUTE_NAME_LIMIT]
        hint = f'; did you mean "{better}"?' if better else ""
        raise Mistake(f'"{short(name)}" is not a name for a route: use at most {ROUTE_NAME_LIMIT} of a-z, 0-9, dash, dot and underscore{hint}', "name")  # fmt: skip
    return name


def _match(fields: Mapping[str, Any]) -> Matchers:
    value = fields.get("match")
    if "match" not in fields:
        raise Mistake('has no "match"; write {"model": "a_*"}, or {} for all series')
    if not isinstance(value, Pairs):
        raise Mistake(f'is {kind(value)}, not labels with their globs, like {{"model": "a_*"}}', "match")  # fmt: skip
    matchers = []
    seen: set[str] = set()
    for label, globs in value.pairs:
        if label in seen:
            raise Mistake(f'names "{short(label)}" twice; give it a list of globs', "match")
        if not _LABEL.fullmatch(label) or label != label.strip():
            raise Mistake(f'"{short(label)}" is not a label\'s name; write it without an operator; its value is a glob', "match")  # fmt: skip
        seen.add(label)
        matchers.append((label, _globs(globs, label)))
    return tuple(matchers)


def _globs(value: Any, label: str) -> tuple[str, ...]:
    globs = value if isinstance(value, list) else [value]
    if not globs:
        raise Mistake("is an empty list, which matches nothing", "match", label)
    if len(globs) > GLOBS_MAX:
        raise Mistake(f"has {len(globs)} globs, more than the {GLOBS_MAX} allowed", "match", label)  # fmt: skip
    for glob in globs:
        if not isinstance(glob, str):
            raise Mistake(f"is {kind(glob)}, not a text in quotes", "match", label)
        if re.search(r"\.[*+]|[|^$\\]|^[!=~]", glob):
            plain = re.sub(r"\.[*+]", "*", re.sub(r"[\^$\\]", "", glob)).lstrip("!=~")
            hint = f'; did you mean "{short(plain)}"?' if plain and "|" not in plain else "; write a list of globs for several"  # fmt: skip
            raise Mistake(f'"{short(glob)}" looks like a regular expression, and a match is a glob with * and ?{hint}', "match", label)  # fmt: skip
    return tuple(globs)


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key, "")
    if not isinstance(value, str):
        raise Mistake(f"is {kind(value)}, not a text in quotes", key)
    if key in fields and key not in {"authentication_string", "proxy"} and not value.strip():
        raise Mistake("is empty", key)
    return value.strip()


def _count(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key, 0)
    if key in fields and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 10**9):  # fmt: skip
        raise Mistake("is not a whole number of at least 1", key)
    return int(value)


def _size(fields: Mapping[str, Any]) -> int:
    key = "outbox_max_bytes"
    if key not in fields:
        return 0
    value = fields[key]
    try:
        return read_size(str(value) if isinstance(value, str | int) else "")
    except ValueError as error:
        raise Mistake('is not a size like 104857600, "100MiB" or "1GiB"', key) from error
