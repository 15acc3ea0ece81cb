"""A file that an operator has named is read whatever lies there, and nothing is waited for."""

import os
import socket
from pathlib import Path

import pytest

from receiver.config.plain_file import read_plain
from receiver.config.settings import load_allowlist, resolve
from receiver.errors import SettingsError


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    """The limit itself is not past the limit."""
    (tmp_path / "file").write_bytes(b"x" * (1 << 20))
    assert len(read_plain(tmp_path / "file", 1 << 20)) == 1 << 20
    (tmp_path / "file").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_plain(tmp_path / "file", 1 << 20)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("pipe", "is a pipe, not a file"), ("folder", "is a directory, not a file"), ("/dev/zero", "is a device, not a file"), ("missing", "No such file"), ("socket", "No such device or address")],
)  # fmt: skip
def test_what_is_no_file_is_a_sentence_at_once(tmp_path: Path, kind: str, said: str) -> None:
    """metrics.json among them: neither a wait without end nor a traceback."""
    path = tmp_path / "metrics.json"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(path))
        case "/dev/zero":
            path = Path(kind)
    settings, _ = resolve({"metrics_json": str(path)}, {})
    with pytest.raises(SettingsError, match=said):
        load_allowlist(settings)
