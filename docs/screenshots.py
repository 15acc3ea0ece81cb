"""Takes the pictures in docs/images/ of a whole path that runs: `make screenshots`.

It starts what `make run` starts, waits until the rules' first _irate has arrived, and
looks at the receiver's page and the sandbox's with Chromium.
"""

import asyncio
import base64
import json
import os
import signal
import socket
import sys
import tempfile
import urllib.request
from pathlib import Path

from demo.parts import REPOSITORY
from tests.integration.browser import browsing, chromium

IMAGES = REPOSITORY / "docs/images"
PICTURES = (("page.png", 9201, 1200, 900), ("sandbox.png", 9202, 1200, 700))
WAIT_SECONDS = 240
SETTLE_SECONDS = 90
"""After the first _irate: a minute of flow, so that there is something to see."""
OFFSETS = range(1000, 20000, 1000)


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def offset() -> int:
    """Find an offset at which all of `make run`'s ports are free."""
    ports = (8000, 8001, 8002, 9090, 9201, 9202)
    return next(shift for shift in OFFSETS if all(is_free(port + shift) for port in ports))


def has_arrived(port: int) -> bool:
    """Whether the sandbox holds an _irate that is not 0."""
    url = f"http://127.0.0.1:{port}/items?name=nv_inference_request_success_irate"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return any(item["value"] for item in json.load(answer))
    except OSError:
        return False


async def main() -> None:
    """Start, wait, look, end."""
    moved = offset()
    command = [sys.executable, "-m", "demo.run", "--port-offset", str(moved)]
    environment = {name: value for name, value in os.environ.items() if "INSTRUMENTATION" not in name and "APPLICATIONINSIGHTS" not in name}  # fmt: skip
    run = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, env=environment)
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await asyncio.to_thread(has_arrived, 9202 + moved):  # noqa: ASYNC110 - another process
                await asyncio.sleep(1)
        await asyncio.sleep(SETTLE_SECONDS)
        with tempfile.TemporaryDirectory() as folder:
            async with browsing(Path(folder)) as page:
                for name, port, width, height in PICTURES:
                    await page.look(f"http://127.0.0.1:{port + moved}/", width=width, height=height)
                    await asyncio.sleep(5)
                    taken = await page.do("Page.captureScreenshot", format="png")
                    (IMAGES / name).write_bytes(base64.b64decode(taken["data"]))
    finally:
        run.send_signal(signal.SIGINT)
        await run.wait()


if __name__ == "__main__":
    if not chromium():
        sys.exit("screenshots: there is no Chromium (apt-get install chromium)")
    asyncio.run(main())
