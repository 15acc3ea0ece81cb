"""`run`: receive and deliver, until stopped."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from receiver import sandbox, service
from receiver.azure.connection_string import parse as parse_connection
from receiver.config.file_modes import file_warnings
from receiver.config.settings import Address, Origin, Settings, find_connection, load_allowlist
from receiver.errors import SettingsError
from receiver.process_privacy import keep_private
from receiver.server.auth import exposure, read_rules

NO_DESTINATION = """\
There is nowhere to deliver to. Either

  export APPLICATIONINSIGHTS_CONNECTION_STRING='InstrumentationKey=…;IngestionEndpoint=…'

(Azure portal, your Application Insights resource, Overview, Connection String), or try it
without Azure:

  appinsights-receiver run --sandbox
"""

log = structlog.get_logger()


def run(given: argparse.Namespace, settings: Settings, origins: list[Origin]) -> int:
    """Run it."""
    keep_private()
    service.warn_of_suspicions(load_allowlist(settings))
    rules = read_rules(settings.web_config_file, settings.bearer_token_file)[0]
    if warning := exposure(settings.listen, rules):
        log.warning("setting", problem=warning)
    for warning in file_warnings(settings, origins, rules.keys):
        log.warning("setting", problem=warning)
    if given.sandbox:
        return asyncio.run(_run_with_sandbox(settings, origins))
    connection, warnings = find_connection(settings)
    for warning in warnings:
        log.warning("setting", problem=warning)
    if connection is None:
        print(NO_DESTINATION, file=sys.stderr)
        return 2
    return asyncio.run(service.serve(settings, connection, origins=origins))


async def _run_with_sandbox(settings: Settings, origins: list[Origin]) -> int:
    async with sandbox_at(settings.sandbox_listen) as server:
        log.info("sandbox listens", address=server.url)
        connection = parse_connection(server.connection_string)
        return await service.serve(settings, connection, origins=origins)


@asynccontextmanager
async def sandbox_at(address: Address) -> AsyncIterator[sandbox.Server]:
    """Serve an empty sandbox. Raises: SettingsError."""
    async with AsyncExitStack() as stack:
        serving = sandbox.serve(sandbox.Sandbox(), address.host, address.port)
        try:
            server = await stack.enter_async_context(serving)
        except OSError as error:
            message = f"the sandbox cannot listen on {address}: {error.strerror}; name another with RECEIVER_SANDBOX_LISTEN"
            raise SettingsError(message) from error
        yield server
