"""A receiver whose verdicts come soon: what takes two minutes in life takes seconds here.

python -m tests.integration.hasty --listen … --metrics-json … --outbox-dir …, as `run` does.
"""

import asyncio
import os
import sys

from receiver import logs
from receiver.config.settings import SETTINGS, find_connection, resolve
from receiver.service import serve
from receiver.status.diagnosis import PATIENCE

FACTOR = 0.05


def main(arguments: list[str]) -> int:
    """Run until SIGTERM."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    flags = {each.name: given.get(each.flag) for each in SETTINGS}
    settings, _ = resolve(flags, os.environ)
    connection, _ = find_connection(settings)
    assert connection
    logs.configure()
    return asyncio.run(serve(settings, connection, PATIENCE.scaled(FACTOR)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
