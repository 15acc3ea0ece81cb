"""End the services in order, so that the last counters still arrive.

Triton drains while its metrics page is read again and again; Prometheus scrapes
what was read last, from this program when Triton is gone; Prometheus flushes to
the receiver; the receiver delivers, or keeps in its outbox. Each step has its share
of STOP_GRACE_SECONDS, which is docker's 10 s unless both are set otherwise.

Standard library only; s6's programs say what runs. Source: s6-svc(8), s6-svstat(8).
"""

import http.client
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

LAST_SCRAPE_SECONDS = 0.3
"""How often Prometheus scrapes from the beginning of the end on."""

LAST_SCRAPE_LIMIT_SECONDS = 6.0
"""From the reload on: Prometheus looks at its targets every 5 s, then scrapes at once."""

FLUSH_LIMIT_SECONDS = 2.5  # its own deadline is 2 s
DELIVERY_LIMIT_SECONDS = 2.5  # likewise
POLL_SECONDS = 0.05

STATE = Path(os.environ["TELEMETRY_STATE"])


def main() -> None:
    """Stop Triton, Prometheus and the receiver, in this order."""
    began = time.monotonic()
    (STATE / "stopping").touch()
    last_words(float(os.environ.get("STOP_GRACE_SECONDS") or 10) - 5)
    for name, limit_seconds in (
        ("prometheus", FLUSH_LIMIT_SECONDS),
        ("receiver", DELIVERY_LIMIT_SECONDS),
    ):
        end(name, limit_seconds)
    say(f"all ended in {time.monotonic() - began:.1f} s")


def last_words(drain_limit_seconds: float) -> None:
    """Stop Triton and have Prometheus scrape the last that it said."""
    if not is_up("triton"):
        return
    port = int((STATE / "metrics-port").read_text())
    began = time.monotonic()
    scraping = is_up("prometheus")
    if scraping:
        hurry(STATE / "prometheus/prometheus.yml")
    page = Page()
    page.read(port)
    control("-d", "triton")
    while is_up("triton"):
        page.read(port)
        if time.monotonic() - began > drain_limit_seconds:
            say("Triton didn't drain in time and is killed")
            control("-k", "triton")
            wait_until(lambda: not is_up("triton"), 1.0)
            break
        time.sleep(POLL_SECONDS)
    say(f"Triton ended in {time.monotonic() - began:.1f} s")
    if scraping and page.lines:
        limit_seconds = began + LAST_SCRAPE_LIMIT_SECONDS - time.monotonic()
        scraped = serve(page.text(), port, limit_seconds)
        say("Prometheus made its last scrape" if scraped else "Prometheus made no last scrape")


class Page:
    """All that Triton's metrics page ever said, each series with its latest value.

    Triton forgets a model's series when it unloads it, which is before it ends.
    """

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def read(self, port: int) -> None:
        """Read the page once more, if it is still there."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
        self.add(text)

    def add(self, text: str) -> None:
        """Take over a page in Prometheus' text format."""
        for line in text.splitlines():
            series = line if line.startswith("#") else line.rpartition(" ")[0]
            self.lines[series] = line

    def text(self) -> bytes:
        """Spell it as Triton did."""
        return "".join(f"{line}\n" for line in self.lines.values()).encode()


class Server(socketserver.ThreadingTCPServer):
    """Like http.server's, which asks the resolver for this host's name before it listens."""

    allow_reuse_address = True
    daemon_threads = True


def serve(page: bytes, port: int, limit_seconds: float) -> bool:
    """Stand in for Triton's metrics page until it was scraped; say whether it was."""
    scraped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            scraped.set()

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = Server(("127.0.0.1", port), Handler)
    except OSError as error:
        say(f"port {port} can't be taken over: {error}")
        return False
    threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
    happened = scraped.wait(limit_seconds)
    time.sleep(0.2)  # Prometheus commits what it scraped, and reads it for remote_write
    server.shutdown()
    return happened


def hurry(config: Path) -> None:
    """Have Prometheus scrape several times a second from now on."""
    text = hurried(config.read_text())
    beside = config.with_suffix(".hurried")
    beside.write_text(text)
    beside.replace(config)
    control("-h", "prometheus")


def hurried(config: str) -> str:
    """Shorten all scrape intervals; a timeout may not be longer than its interval."""
    milliseconds = f"{LAST_SCRAPE_SECONDS * 1000:.0f}ms"
    pattern = r"(?m)^(\s*(?:-\s+)?)scrape_(interval|timeout):[^#\n]*"
    text = re.sub(pattern, rf"\1scrape_\2: {milliseconds} ", config)
    if re.search(r"(?m)^\s*(?:-\s+)?scrape_interval:", text):
        return text
    if re.search(r"(?m)^global:", text):
        return re.sub(r"(?m)^global:[^\n]*", f"global:\n  scrape_interval: {milliseconds}", text)
    return f"global:\n  scrape_interval: {milliseconds}\n{text}"


def end(name: str, limit_seconds: float) -> None:
    """Stop a service, and kill it when its time is over."""
    if not is_up(name):
        return
    began = time.monotonic()
    control("-d", name)
    if not wait_until(lambda: not is_up(name), limit_seconds):
        control("-k", name)
        say(f"{name} didn't end in {limit_seconds} s and is killed; what it took is on disk")
        wait_until(lambda: not is_up(name), 0.5)
    say(f"{name} ended in {time.monotonic() - began:.1f} s")


def wait_until(done: Callable[[], bool], limit_seconds: float) -> bool:
    """Wait for something to become true; say whether it did in time."""
    deadline = time.monotonic() + limit_seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_up(name: str) -> bool:
    """Ask the supervisor whether a service runs."""
    command = ["s6-svstat", "-o", "up", str(STATE / "services" / name)]
    return subprocess.run(command, capture_output=True, check=False).stdout.strip() == b"true"


def control(order: str, name: str) -> None:
    """Give an order to a service's supervisor."""
    subprocess.run(["s6-svc", order, str(STATE / "services" / name)], check=False)


def say(what: str) -> None:
    """Tell it to whoever reads the container's log."""
    print(f"container: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
