"""A headless Chromium for tests, driven over its DevTools protocol. Loopback only."""

import asyncio
import base64
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from demo.child import Child
from tests.integration.waiting import until

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0",
)  # fmt: skip


def chromium() -> str | None:
    """Find Debian's Chromium, or whatever CHROMIUM names."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


class Page:
    """One tab. `complaints` are errors of the page: exceptions, refused by its policy, and the like."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Take what the browser says, until it goes."""
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
            elif said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"]["exceptionDetails"]))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(str(said["params"]["entry"]["text"]))

    async def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give one command of the protocol."""
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        said = await future
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """Evaluate JavaScript in the page, a promise to its end."""
        result = await self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, expression: str, within_seconds: float = 20.0) -> Any:
        """Wait until an expression is true."""
        return await until(lambda: self.evaluate(expression), expression, within_seconds)

    async def look(self, url: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:  # fmt: skip
        """Open an address in a window of some size."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.do("Emulation.setEmulatedMedia", features=[scheme])
        await self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        await self.do("Page.navigate", url=url)

    async def key(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.do("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    async def screenshot(self, path: Path) -> None:
        """Take a picture of the whole page."""
        taken = await self.do("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))  # noqa: ASYNC240


@asynccontextmanager
async def browsing(folder: Path, *flags: str) -> AsyncIterator[Page]:
    """Start a Chromium with a profile of its own, and end it."""
    program = chromium()
    assert program
    profile = folder / "chromium"
    command = [program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
    child = await Child.start("Chromium", command, log=folder / "chromium.log", environment=os.environ)  # fmt: skip
    try:
        told = profile / "DevToolsActivePort"
        port = await until(
            lambda: told.exists() and told.read_text().split("\n")[0], "Chromium", 30
        )
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as response:
                tabs = await response.json()
            tab = next(each for each in tabs if each["type"] == "page")
            async with session.ws_connect(
                tab["webSocketDebuggerUrl"], max_msg_size=1 << 28
            ) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Runtime", "Log"):
                    await page.do(f"{domain}.enable")
                yield page
                listening.cancel()
    finally:
        await child.kill()
