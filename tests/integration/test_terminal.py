"""`top` and `tap` in a terminal, as a person uses them: keys, sizes, a receiver that restarts."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from demo.ports import free_ports

FLOW = dict.fromkeys(("received", "unselected", "committed", "expired", "waiting", "accepted", "requests"), 1)  # fmt: skip
STATUS = {
    "verdict": {"state": "OK", "severity": "good", "line": "OK: LINE", "hint": "", "also": []},
    "flow": {**FLOW, "seconds": 60.0, "dropped": {}, "rejected": {}},
    "outbox": {"items": 0, "bytes": 0, "oldest_seconds": 0.0},
    "errors": [],
}
METRICS = {"selected": {"rows": [{"per_minute": 1.0, "series": 1, "low": 268_435_456.0, "high": 268_435_456.0, "name": f"nv_{n}"} for n in range(200)]}}  # fmt: skip


class Server(ThreadingHTTPServer):
    """May come back at its port at once."""

    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def receiver(port: int, line: str) -> Iterator[None]:
    """Answer as a receiver with this verdict."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            documents: dict[str, Any] = {
                "/api/v1/status": json.loads(json.dumps(STATUS).replace("LINE", line)),
                "/api/v1/metrics": METRICS,
                "/api/v1/tap": {"items": [], "after": 0},
            }
            body = json.dumps(documents[urlsplit(self.path).path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Terminal:
    """A command under a terminal of its own."""

    def __init__(self, *arguments: str, lines: int = 24, columns: int = 80) -> None:
        """Start it."""
        self._ours, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)
        self.resize(lines, columns)
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        # Where the tests run in the background SIGINT is ignored, and would be here too.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "receiver", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        signal.signal(signal.SIGINT, before)
        self._theirs = theirs
        self.written = b""

    def resize(self, lines: int, columns: int) -> None:
        """Give it another size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, words: bytes, after: int = 0) -> int:
        """Read until something was written, at or after a place; give the place behind it."""
        deadline = time.monotonic() + 30
        while (place := self.written.find(words, after)) < 0:
            assert time.monotonic() < deadline, (words, self.written[-2000:])
            if select.select([self._ours], [], [], 0.1)[0]:
                self.written += os.read(self._ours, 65536)
        return place + len(words)

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._ours, keys)

    def end(self) -> int:
        """Wait for its end; what a terminal was set to must be as before."""
        code = self.process.wait(timeout=30)
        assert termios.tcgetattr(self._theirs) == self.before
        os.close(self._ours)
        os.close(self._theirs)
        return code


def test_top_lives_through_a_restart_and_ends_with_q() -> None:
    """On a screen of its own, the verdict on top in any size; what was there before comes back."""
    [port] = free_ports(1)
    with receiver(port, "the first"):
        terminal = Terminal("top", "--receiver", f"http://127.0.0.1:{port}", "--every", "0.2")
        place = terminal.until(b"\x1b[?1049h")
        place = terminal.until(b"OK: the first", place)
        place = terminal.until(b"268435456", place)
        place = terminal.until(b"more", place)
        terminal.resize(8, 40)
        place = terminal.until(b"\x1b[H\x1b[32mOK: the first", place)
        screen = terminal.written[place : terminal.until(b"\x1b[J", place)]
        assert screen.count(b"\r\n") == 7, "no line more than the terminal has"
    place = terminal.until(b"NO ANSWER since 20", place)
    place = terminal.until(b"the first", place)
    with receiver(port, "the second"):
        place = terminal.until(b"OK: the second", place)
        terminal.type(b"q")
        terminal.until(b"\x1b[?25h\x1b[?1049l", place)
        assert terminal.end() == 0


def test_tap_says_that_it_waits_and_for_what() -> None:
    """On standard error, with the receiver's own line; Ctrl-C ends it without a traceback."""
    [port] = free_ports(1)
    with receiver(port, "all is well"):
        terminal = Terminal("tap", "nv_x*", "--receiver", f"http://127.0.0.1:{port}")
        terminal.until(b"waiting for items whose names fit nv_x*; Ctrl-C ends. The receiver says: OK: all is well")  # fmt: skip
        os.killpg(terminal.process.pid, 2)
        assert terminal.end() == 130
        assert b"Traceback" not in terminal.written
