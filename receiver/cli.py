"""The command line: what a person types, and what it answers.

Exit codes: 0 done, 1 it could not be done, 2 something that was set cannot be used.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress

import structlog

from receiver import __version__, entra, logs, sandbox, service
from receiver.allowlist import Allowlist
from receiver.connection import parse as parse_connection
from receiver.deadletters import read_dead_letters, to_text
from receiver.errors import ReceiverError, SettingsError
from receiver.settings import (
    SETTINGS,
    Address,
    Origin,
    Settings,
    find_connection,
    load_allowlist,
    resolve,
)

NO_DESTINATION = """\
There is nowhere to deliver to. Either

  export APPLICATIONINSIGHTS_CONNECTION_STRING='InstrumentationKey=…;IngestionEndpoint=…'

(Azure portal, your Application Insights resource, Overview, Connection String), or try it
without Azure:

  appinsights-receiver run --sandbox
"""

log = structlog.get_logger()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    logs.configure()
    try:
        settings, origins = resolve(vars(given), os.environ)
        return int(given.run(given, settings, origins))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ReceiverError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 1


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all verbs, their flags from the one list of settings."""
    parser = argparse.ArgumentParser(
        prog="appinsights-receiver",
        description="Takes Prometheus' remote_write and delivers it to Azure Application Insights.",
        epilog="Every flag has an environment variable; a flag wins. README.md lists them.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    common = argparse.ArgumentParser(add_help=False)
    for setting in SETTINGS:
        if setting.flag:
            default = f" (default: {setting.default})" if setting.default else ""
            text = f"{setting.meaning}{default} [{setting.environment}]".replace("%", "%%")
            common.add_argument(setting.flag, dest=setting.name, metavar="…", help=text)
    run = verbs.add_parser("run", parents=[common], help="receive and deliver", description="Receive remote-write requests and deliver them, until stopped.")  # fmt: skip
    run.add_argument("--sandbox", action="store_true", help="deliver to a sandbox started inside, not to Azure")  # fmt: skip
    run.set_defaults(run=_run)
    box = verbs.add_parser("sandbox", help="stand in for Application Insights", description="Run the strict local stand-in for Application Insights, until stopped.")  # fmt: skip
    box.add_argument("--listen", dest="sandbox_listen", metavar="…", help="Address (default: 127.0.0.1:9202) [RECEIVER_SANDBOX_LISTEN]")  # fmt: skip
    box.set_defaults(run=_sandbox)
    check = verbs.add_parser("check", parents=[common], help="check what is set, offline", description="Check all settings, metrics.json and the connection string, without a network.")  # fmt: skip
    check.set_defaults(run=_check)
    letters = verbs.add_parser("dead-letters", parents=[common], help="show rejected items", description="Show the latest items that Application Insights rejected for good, and its words.")  # fmt: skip
    letters.add_argument("--json", action="store_true", help="one JSON object a line")
    letters.set_defaults(run=_dead_letters)
    return parser


def _run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    allowlist = load_allowlist(settings)
    for suspicion in allowlist.suspicions():
        log.warning("metrics.json looks misspelt", entry=suspicion)
    if given.sandbox:
        asyncio.run(_run_with_sandbox(settings, allowlist))
        return 0
    connection, warnings = find_connection(settings)
    for warning in warnings:
        log.warning("setting", problem=warning)
    if connection is None:
        print(NO_DESTINATION, file=sys.stderr)
        return 2
    asyncio.run(service.serve(settings, connection, allowlist))
    return 0


async def _run_with_sandbox(settings: Settings, allowlist: Allowlist) -> None:
    async with _sandbox_at(settings.sandbox_listen) as server:
        log.info("sandbox listens", address=server.url)
        connection = parse_connection(server.connection_string)
        await service.serve(settings, connection, allowlist)


def _sandbox_at(address: Address) -> AbstractAsyncContextManager[sandbox.Server]:
    return sandbox.serve(sandbox.Sandbox(), address.host, address.port)


def _sandbox(_: argparse.Namespace, settings: Settings, __: list[Origin]) -> int:
    async def run() -> None:
        stop = service.stop_on_signals()
        async with _sandbox_at(settings.sandbox_listen) as server:
            log.info("sandbox listens", address=server.url)
            print(f"export APPLICATIONINSIGHTS_CONNECTION_STRING='{server.connection_string}'")
            sys.stdout.flush()
            await stop.wait()

    asyncio.run(run())
    return 0


def _check(_: argparse.Namespace, settings: Settings, origins: list[Origin]) -> int:
    width = max(len(origin.setting.name) for origin in origins)
    for origin in origins:
        print(f"{origin.setting.name:<{width}}  {origin.shown}  [{origin.source}]")
    problems = 0
    try:
        allowlist = load_allowlist(settings)
        names = ", ".join(entry.name for entry in allowlist.entries)
        print(f"\nmetrics.json selects: {names}")
        for suspicion in allowlist.suspicions():
            print(f"warning: metrics.json: {suspicion}")
    except SettingsError as error:
        problems += 1
        print(f"\nerror: {error}")
    problems += _check_connection(settings)
    return 2 if problems else 0


def _check_connection(settings: Settings) -> int:
    try:
        connection, warnings = find_connection(settings)
    except SettingsError as error:
        print(f"error: {error}")
        return 1
    for warning in warnings:
        print(f"warning: {warning}")
    if connection is None:
        print(f"warning: {NO_DESTINATION}")
    else:
        print(f"delivers to: {connection.track_url}")
        try:
            entra.parse(settings.authentication_string)
        except SettingsError as error:
            print(f"error: {error}")
            return 1
    return 0


def _dead_letters(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    try:
        letters = read_dead_letters(settings.outbox_dir)
    except (OSError, sqlite3.Error) as error:
        print(f"error: no outbox can be read in {settings.outbox_dir}: {error}", file=sys.stderr)
        return 1
    with suppress(BrokenPipeError):
        if given.json:
            for letter in letters:
                print(json.dumps(letter.to_json()))
        else:
            print(to_text(letters))
    return 0
