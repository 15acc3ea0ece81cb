"""`dead-letters`: from the receiver that runs or its outbox, in groups or one by one."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from receiver.azure.limits import EXPIRY_MS
from receiver.cli.main import main
from receiver.cli.rejected_items import RejectedItem
from receiver.outbox.gzip_body import compress_chunks, cut
from receiver.outbox.store import Outbox
from receiver.outbox.values import DeadLetter, Settlement, Submission

NOBODY = "127.0.0.1:9"
WRONG = "106: Field 'name' is of incorrect type"


def fill(directory: Path, *letters: DeadLetter) -> None:
    """Leave an outbox with rejected items."""
    outbox = Outbox(directory, 1 << 20, "key", EXPIRY_MS, lambda: 1_800_000_000.0)
    outbox.apply([compress_chunks(Submission(cut([b"a\n"]), 0, 0, {("received", ""): 1}))], [])
    [batch] = outbox.next_batches([], 0, 2)
    assert batch
    outbox.apply([], [Settlement(batch, rejected={"wrong_type": 1}, dead_letters=letters)])
    outbox.close()


@contextmanager
def receiver(status: int, document: Any) -> Iterator[tuple[str, list[str]]]:
    """Answer every request alike; give the address and what was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{serving.server_port}", asked
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def test_they_are_grouped_by_what_the_service_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The most frequent first, one item of each; --all shows every one, --json one a line."""
    letter = DeadLetter(400, WRONG, '{"name":"ü"}')
    fill(tmp_path, DeadLetter(400, "other", "{}"), letter, letter)
    flags = ["--outbox-dir", str(tmp_path), "--listen", NOBODY]

    assert main(["dead-letters", *flags]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"2 x 400 {WRONG}\n  2027-01-15T08:00:00Z; reason wrong_type\n")
    assert "1 x 400 other" in text
    assert text.count('{"name":"ü"}') == 1

    assert main(["dead-letters", "--all", *flags]) == 0
    assert capsys.readouterr().out.count('{"name":"ü"}') == 2
    assert main(["dead-letters", "--json", "--limit", "2", *flags]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["item"] for each in found] == [{"name": "ü"}] * 2
    assert main(["dead-letters", "--limit", "2", *flags]) == 0
    assert "1 older ones: --limit 3" in capsys.readouterr().out


def test_the_running_receiver_is_asked_first(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its answer counts, whatever lies in a directory here; an older one without it is passed over."""
    fill(tmp_path, DeadLetter(400, "of the directory", "{}"))
    letter = RejectedItem(1_800_000_000.0, 400, "of the receiver \x1b[2J", '{"a":1}').to_json()
    with receiver(200, {"items": [letter]}) as (listen, asked):
        assert main(["dead-letters", "--outbox-dir", str(tmp_path), "--listen", listen, "--limit", "7"]) == 0  # fmt: skip
    text = capsys.readouterr().out
    assert asked == ["/api/v1/dead-letters?limit=1000"]
    assert r"1 x 400 of the receiver \x1b[2J" in text
    assert '{"a": 1}' in text
    with receiver(404, {}) as (listen, _):
        assert main(["dead-letters", "--outbox-dir", str(tmp_path), "--listen", listen]) == 0
    assert "of the directory" in capsys.readouterr().out
    with receiver(401, {}) as (listen, _):
        assert main(["dead-letters", "--outbox-dir", str(tmp_path), "--listen", listen]) == 0
    assert "of the directory" in capsys.readouterr().out
    with receiver(200, {"items": [{"x": 1}]}) as (listen, _):
        assert main(["dead-letters", "--receiver", f"http://{listen}"]) == 1
    assert "holds no valid rejected item" in capsys.readouterr().err
    assert main(["dead-letters", "--receiver", f"http://{NOBODY}"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_nothing_was_rejected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A sentence, not an empty screen."""
    fill(tmp_path)
    assert main(["dead-letters", "--outbox-dir", str(tmp_path), "--listen", NOBODY]) == 0
    assert capsys.readouterr().out == "Nothing was rejected.\n"
