"""`sandbox`: the stand-in for Application Insights, until it is stopped."""

import argparse
import asyncio
import json
import sys

import structlog

from receiver import service
from receiver.cli.run import sandbox_at
from receiver.config.settings import Origin, Settings

log = structlog.get_logger()


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Serve the sandbox."""

    async def serve() -> None:
        stop = service.stop_on_signals()
        async with sandbox_at(settings.sandbox_listen) as server:
            log.info("sandbox listens", address=server.url)
            if given.json:
                print(json.dumps({"connection_string": server.connection_string}))
            else:
                print(f"export APPLICATIONINSIGHTS_CONNECTION_STRING='{server.connection_string}'")
            sys.stdout.flush()
            await stop.wait()

    asyncio.run(serve())
    return 0
