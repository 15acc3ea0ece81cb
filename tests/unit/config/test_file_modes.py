"""Files that others can read or change are named, with what to do."""

from pathlib import Path

import pytest

from receiver.config.file_modes import file_warnings, mode_warning
from receiver.config.settings import resolve


@pytest.mark.parametrize(
    ("mode", "secret", "says"),
    [
        (0o600, True, ""),
        (0o400, True, ""),
        (0o440, True, ""),
        (0o644, True, "every user on this machine can read it; chmod o-rwx"),
        (0o602, True, "every user on this machine can change it"),
        (0o660, True, "every user of its group can change it; chmod g-w"),
        (0o644, False, ""),
        (0o646, False, "every user on this machine can change it; chmod o-w"),
        (0o664, False, "every user of its group can change it"),
    ],
)
def test_modes(tmp_path: Path, mode: int, *, secret: bool, says: str) -> None:
    """A secret is for its owner, and at most its group, to read; nothing is for others to write."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    warning = mode_warning(path, secret=secret)
    assert says in warning
    assert bool(says) is bool(warning)


def test_all_files_that_are_set_are_looked_at(tmp_path: Path) -> None:
    """Also the one that holds the connection string, and private keys; one that is gone is not."""
    files = {
        name: tmp_path / name for name in ("web.yml", "token", "secret", "key", "metrics.json")
    }
    for path in files.values():
        path.write_text("x")
        path.chmod(0o666)
    settings, origins = resolve(
        {
            "web_config_file": str(files["web.yml"]),
            "bearer_token_file": str(files["token"]),
            "metrics_json": str(files["metrics.json"]),
        },
        {"APPLICATIONINSIGHTS_CONNECTION_STRING_FILE": str(files["secret"])},
    )
    warnings = list(file_warnings(settings, origins, [files["key"]]))
    assert [str(path) for path in files.values()] == [line.partition(":")[0] for line in warnings]
    assert mode_warning(tmp_path / "gone", secret=True) == ""
