"""routes.json with its secrets: the resource of each route.

In: settings. Out: `Routes`, and the files read, to be followed; warnings about files that
others can read. The connection strings are read here and nowhere else, and no message repeats
one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from receiver.azure import connection_string
from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection
from receiver.config.file_modes import mode_warning
from receiver.config.plain_file import read_plain
from receiver.config.settings import Settings, read_path
from receiver.errors import SettingsError
from receiver.intake import routes_json
from receiver.intake.routes import NO_ROUTES, OWN_ROUTE, Route, Routing
from receiver.outbox.lanes import shares_of
from receiver.text import printable


@dataclass(frozen=True, slots=True)
class Resource:
    """The destination of a route's items, with the receiver's settings as defaults."""

    name: str
    connection: Connection
    authentication_string: str
    items_per_second: int
    senders: int
    proxy: str | None = field(default=None, repr=False)

    @property
    def environ(self) -> Mapping[str, str] | None:
        """The environment for the route's own proxy; None for the receiver's."""
        if self.proxy is None:
            return None
        return {"all_proxy": self.proxy} if self.proxy else {}


@dataclass(frozen=True, slots=True)
class Routes:
    """The content of routes.json: the routing, and each route's resource and share of the outbox."""

    routing: Routing = NO_ROUTES
    resources: tuple[Resource, ...] = ()
    shares: Mapping[str, int] = field(default_factory=dict)


def load_routes(settings: Settings) -> tuple[Routes, list[Path]]:
    """Read routes.json and the files of its connection strings; empty if no file is set.

    Raises: SettingsError.
    """
    if not settings.routes:
        return Routes(), []
    path = read_path(settings.routes)
    routing = load_routing(settings)
    files = [path]
    resources = []
    for number, route in enumerate(routing.routes):
        where = f"{printable(settings.routes)}: {routes_json.KEY}[{number}], {route.name}"
        if file := _file_of(path, route):
            files.append(file)
        resources.append(_resource(settings, route, file, where))
    routing = replace(
        routing, keys=tuple(resource.connection.instrumentation_key for resource in resources)
    )
    wanted = {"": 0, **{route.name: route.outbox_max_bytes for route in routing.routes}}
    if sum(wanted.values()) >= settings.outbox_max_bytes:
        total = sum(wanted.values())
        raise SettingsError(f"{printable(settings.routes)}: the routes' outbox_max_bytes are {total} together, and RECEIVER_OUTBOX_MAX_BYTES is {settings.outbox_max_bytes}: what is left is for the receiver's own route; raise the one, or lower the others")  # fmt: skip
    shares = shares_of(wanted, settings.outbox_max_bytes)
    return Routes(routing, tuple(resources), shares), files


def load_routing(settings: Settings) -> Routing:
    """Read routes.json without its secrets. Raises: SettingsError."""
    if not settings.routes:
        return NO_ROUTES
    return routes_json.parse(_text_of(settings), settings.routes)


def _text_of(settings: Settings) -> bytes:
    return _read(
        read_path(settings.routes),
        printable(settings.routes),
        "RECEIVER_ROUTES or --routes names it",
    )


def _file_of(routes_file: Path, route: Route) -> Path | None:
    """Return the file of a route's secret; a relative path is relative to routes.json."""
    if not route.connection_string_file:
        return None
    return routes_file.parent / read_path(route.connection_string_file)


def _read(path: Path, shown: str, names_it: str) -> bytes:
    try:
        return read_plain(path)
    except OSError as error:
        raise SettingsError(f"{shown}: {error.strerror}; {names_it}") from error


def _resource(settings: Settings, route: Route, file: Path | None, where: str) -> Resource:
    text, source = route.connection_string, f"{where}: connection_string"
    if file:
        source = printable(str(file))
        raw = _read(file, source, f"connection_string_file of {where} names it")
        try:
            text = raw.decode().strip()
        except UnicodeDecodeError:
            raise SettingsError(f"{source}: not UTF-8; {where} names it") from None
        if not text:
            raise SettingsError(f"{source}: the file is empty; {where} names it")
    authentication = settings.authentication_string
    if route.authentication_string is not None:
        authentication = route.authentication_string
        entra.parse(authentication, f"{where}: authentication_string")
    return Resource(
        route.name,
        connection_string.parse(text, source),
        authentication,
        route.items_per_second or settings.items_per_second,
        route.senders or settings.senders,
        route.proxy,
    )


def route_warnings(settings: Settings, routes: Routes, own: Connection | None) -> Sequence[str]:
    """Warn of files open to others, of resources with two routes, and of http."""
    if not settings.routes:
        return ()
    path = read_path(settings.routes)
    inline = any(route.connection_string for route in routes.routing.routes)
    warnings = [mode_warning(path, secret=inline)]
    seen = {own.instrumentation_key: OWN_ROUTE} if own else {}
    for route, resource in zip(routes.routing.routes, routes.resources, strict=True):
        if file := _file_of(path, route):
            warnings.append(mode_warning(file, secret=True))
        connection = resource.connection
        if other := seen.get(connection.instrumentation_key):
            warnings.append(f"the routes {other} and {route.name} lead to the same resource: each has its own pace, so that together they may be above the resource's")  # fmt: skip
        seen.setdefault(connection.instrumentation_key, route.name)
        if connection.unknown:
            warnings.append(f"the connection string of route {route.name} has unknown keys: {', '.join(connection.unknown)}")  # fmt: skip
        if connection.is_plain:
            warnings.append(f"route {route.name}: {connection.endpoint} is not https: items and keys cross the network in clear")  # fmt: skip
    return [warning for warning in warnings if warning]
