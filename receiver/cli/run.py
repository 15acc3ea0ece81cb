"""`run`: the receiver, until it is stopped."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from receiver import sandbox, service
from receiver.azure.connection_string import parse as parse_connection
from receiver.cli.findings import Mark
from receiver.cli.preflight import preflight
from receiver.cli.terminal import show_error
from receiver.config.settings import Address, Origin, Settings
from receiver.errors import SettingsError
from receiver.process_privacy import keep_private

_LOGGED_BY_SERVICE = {"metrics.json", "kernel"}
"""Warnings that the service itself logs."""

log = structlog.get_logger()


def run(given: argparse.Namespace, settings: Settings, origins: list[Origin]) -> int:
    """Check the settings, then serve."""
    keep_private()
    report = preflight(settings, origins, sandbox=given.sandbox)
    for finding in report.findings:
        if finding.mark is Mark.WARN and finding.what not in _LOGGED_BY_SERVICE:
            log.warning("setting", problem=finding.detail, hint=finding.fix)
        elif finding.mark is Mark.FAIL:
            show_error(finding.detail, finding.fix)
    if report.allowlist:
        service.warn_of_suspicions(report.allowlist)
    if report.exit_code:
        return report.exit_code
    if given.sandbox:
        return asyncio.run(_run_with_sandbox(settings, origins))
    assert report.connection
    return asyncio.run(service.serve(settings, report.connection, origins=origins))


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
