"""`sandbox`: stand in for Application Insights, until stopped."""

import argparse
import asyncio
import json
import sys

import structlog

from receiver import service
from receiver.cli.run import sandbox_at
from receiver.cli.verbs import Verbs, add_json, add_verb
from receiver.config.settings import Origin, Settings

log = structlog.get_logger()


def add(verbs: Verbs, _: argparse.ArgumentParser) -> None:
    """Make the verb."""
    parser = add_verb(verbs, "sandbox", "stand in for Application Insights", "Run the strict local stand-in for Application Insights, until stopped. It refuses what the service\nrefuses, forgets all at its end, and can be told to fail: docs/sandbox.md. Prints what to set.", example="Example: run it, paste the line that it prints into another terminal, and start there\nappinsights-receiver run; http://127.0.0.1:9202/ shows what arrives.")  # fmt: skip
    parser.add_argument("--listen", dest="sandbox_listen", metavar="…", help="Address (default: 127.0.0.1:9202) [RECEIVER_SANDBOX_LISTEN]")  # fmt: skip
    add_json(parser, "print the connection string as a JSON object")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Run it."""

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
