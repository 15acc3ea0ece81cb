"""End the services in order, so that the last counters still arrive.

Triton drains while its metrics page is read again and again; Prometheus is given
what was read last, through this program as its proxy; Prometheus flushes to
the receiver; the receiver delivers, or keeps in its outbox. Each step has its share
of STOP_GRACE_SECONDS, which is docker's 10 s unless both are set otherwise: of what is
above that a quarter is the receiver's, to deliver what waits, and the rest Triton's.

Nobody may ask for Triton's page while Triton unloads its models: 2.51 was seen to
crash then (docs/container.md). It unloads once its HTTP service has ended, so that
is when the last page is read.

Standard library only; s6's programs say what runs. Source: s6-svc(8), s6-svstat(8).
"""

import http.client
import json
import os
import re
import socketserver
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

LAST_SCRAPE_SECONDS = 0.3
"""How often Prometheus scrapes from the beginning of the end on."""

LAST_SCRAPE_LIMIT_SECONDS = 5.4
"""From the reload on: Prometheus looks at its targets every 5 s, then scrapes at once."""

# All together 9.2 s at most: 5.4 + 0.2 + 1.5 + 0.3 + 1.5 + 0.3.
COMMIT_SECONDS = 0.2  # Prometheus commits what it scraped, and reads it for remote_write
FLUSH_LIMIT_SECONDS = 1.5  # its own deadline is 1 s
DELIVERY_LIMIT_SECONDS = 1.5  # likewise
KILL_LIMIT_SECONDS = 0.3
DRAINED_BEFORE_SECONDS = 5.5
"""When Triton is killed, so long before the end of the grace."""

GRACE_SECONDS = float(os.environ.get("STOP_GRACE_SECONDS") or 10)
MORE_DELIVERY_SECONDS = max(0, (int(GRACE_SECONDS) - 10) // 4)
"""As services/receiver/run reckons it."""

POLL_SECONDS = 0.05
LISTENS, ESTABLISHED = "0A", "01"  # as /proc/net/tcp spells them

STATE = Path(os.environ["TELEMETRY_STATE"])


def main() -> None:
    """Stop Triton, Prometheus and the receiver, in this order."""
    began = time.monotonic()
    (STATE / "stopping").touch()
    last_words(GRACE_SECONDS - DRAINED_BEFORE_SECONDS - MORE_DELIVERY_SECONDS)
    for name, limit_seconds in (
        ("prometheus", FLUSH_LIMIT_SECONDS),
        ("receiver", DELIVERY_LIMIT_SECONDS + MORE_DELIVERY_SECONDS),
    ):
        end(name, limit_seconds)
    say(f"all ended in {time.monotonic() - began:.1f} s")


def last_words(drain_limit_seconds: float) -> None:
    """Stop Triton and have Prometheus scrape the last that it said."""
    if not is_up("triton"):
        return
    port, http_port, grpc_port = ports()
    began = time.monotonic()
    page = Page()
    page.read(port)
    scraping = is_up("prometheus") and bool(page.lines)
    if scraping:
        proxy = Proxy(page, port)
        hurry(STATE / "prometheus/prometheus.yml", port, proxy.server_address[1])
    serving = has_socket(http_port, LISTENS)
    control("-d", "triton")
    reading = True
    while is_up("triton"):
        if reading:
            # Asked before the page: what was answered until then is on it.
            reading = (serving and has_socket(http_port, LISTENS)) or has_socket(
                grpc_port, ESTABLISHED
            )
            page.read(port)
        if time.monotonic() - began > drain_limit_seconds:
            say("Triton didn't drain in time and is killed")
            control("-k", "triton")
            wait_until(lambda: not is_up("triton"), KILL_LIMIT_SECONDS)
            break
        time.sleep(POLL_SECONDS)
    say(f"Triton ended in {time.monotonic() - began:.1f} s")
    if scraping:
        limit_seconds = began + LAST_SCRAPE_LIMIT_SECONDS - time.monotonic()
        scraped = proxy.last_scrape(max(limit_seconds, 2 * LAST_SCRAPE_SECONDS))
        say("Prometheus made its last scrape" if scraped else "Prometheus made no last scrape")


def ports() -> tuple[int, int, int]:
    """Read where Triton has its metrics, HTTP and gRPC, or take its defaults (prepare.py)."""
    try:
        triton = json.loads((STATE / "triton.json").read_text())
        metrics, http_, grpc = (int(triton[f"{name}_port"]) for name in ("metrics", "http", "grpc"))
    except (OSError, ValueError, LookupError, TypeError):
        return 8002, 8000, 8001
    return metrics, http_, grpc


def has_socket(port: int, state: str) -> bool:
    """Say whether a TCP socket of this container's has the port, in that state."""
    for name in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, its_state, *_ = line.split()
            if its_state == state and int(local.rpartition(":")[2], 16) == port:
                return True
    return False


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
        return "".join(f"{line}\n" for line in list(self.lines.values())).encode()


class Proxy(socketserver.ThreadingTCPServer):
    """Stands between Prometheus and Triton: answers with what Triton's page said last."""

    # Not http.server's, which asks the resolver for this host's name before it listens.
    daemon_threads = True

    def __init__(self, page: Page, port: int) -> None:
        """Answer in place of `port` with `page`."""
        self.final = threading.Event()
        self.scraped = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                last = proxy.final.is_set()
                target = urllib.parse.urlsplit(self.path)
                if target.port == port:
                    kind, body = "text/plain; version=0.0.4; charset=utf-8", page.text()
                else:
                    last = False
                    try:  # another target of the same job
                        with DIRECT.open(self.path, timeout=1) as answer:
                            kind, body = answer.headers["Content-Type"], answer.read()
                    except OSError:
                        self.send_error(502)
                        return
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                if last:
                    proxy.scraped.set()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True).start()

    def last_scrape(self, limit_seconds: float) -> bool:
        """Wait until the page as it is now was scraped; say whether it was."""
        self.final.set()
        happened = self.scraped.wait(limit_seconds)
        if happened:
            time.sleep(COMMIT_SECONDS)
        return happened


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def hurry(config: Path, port: int, proxy_port: int) -> None:
    """Have Prometheus scrape several times a second from now on, Triton through the proxy."""
    text = proxied(hurried(config.read_text()), port, proxy_port)
    beside = config.with_suffix(".hurried")
    beside.write_text(text)
    beside.replace(config)
    control("-h", "prometheus")


def proxied(config: str, port: int, proxy_port: int) -> str:
    """Put the proxy into the jobs that scrape `port`."""
    start = re.search(r"(?m)^scrape_configs:[^\n]*\n", config)
    if not start:
        return config
    after = re.search(r"(?m)^[^\s#-]", config[start.end() :])
    end = start.end() + after.start() if after else len(config)
    section = config[start.end() : end]
    first = re.search(r"(?m)^( *)- ", section)
    if not first:
        return config
    indent = first[1]
    jobs = re.split(rf"(?m)^(?={indent}- )", section)
    for number, job in enumerate(jobs):
        if re.search(rf":{port}\b", job):
            inside = f"{indent}  "
            job = re.sub(rf"(?m)^{inside}(no_proxy|proxy_[a-z_]+):[^\n]*\n", "", job)  # noqa: PLW2901
            jobs[number] = re.sub(
                rf"^{indent}- ",
                f"{indent}- proxy_url: http://127.0.0.1:{proxy_port}\n{inside}",
                job,
            )
    return config[: start.end()] + "".join(jobs) + config[end:]


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
        wait_until(lambda: not is_up(name), KILL_LIMIT_SECONDS)
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
