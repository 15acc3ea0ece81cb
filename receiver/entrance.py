"""Where requests come in: the address, the door that guards it, and what serves behind it.

In: settings, and the application of `receiver.web`. Out: an open `Entrance`.
"""

from dataclasses import dataclass

from aiohttp import web

from receiver.access import Access
from receiver.door import Door, DoorCounts, DoorLimits
from receiver.errors import SettingsError
from receiver.noise import Noise
from receiver.settings import Settings
from receiver.web import Web


@dataclass(frozen=True, slots=True)
class Entrance:
    """The door, what serves behind it, and where it is."""

    door: Door
    runner: web.AppRunner
    url: str

    async def close(self) -> None:
        """Let nobody in, and send those away who are here."""
        await self.door.close()
        await self.runner.cleanup()


async def open_entrance(
    front: Web, settings: Settings, access: Access, counts: DoorCounts, *, shared: bool = False
) -> Entrance:
    """Listen, as the settings say; `shared` with other processes. Raises: SettingsError."""
    noise = Noise()
    runner = web.AppRunner(
        front.application,
        access_log=None,
        auto_decompress=False,
        shutdown_timeout=1.0,
        keepalive_timeout=settings.idle_seconds,
        logger=noise.logger,
    )
    await runner.setup()
    assert runner.server
    limits = DoorLimits(settings.connections_max, settings.headers_seconds, settings.idle_seconds)
    door = Door(runner.server, access.tls, limits, counts)
    front.guard_of = door.guard
    noise.on_no_http = lambda error: door.note("not_http", error)
    try:
        address = door.listen(settings.listen, shared=shared)
    except SettingsError:
        await runner.cleanup()
        raise
    return Entrance(door, runner, f"http{'s' if access.tls() else ''}://{address}")
