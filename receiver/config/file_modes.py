"""Warnings about files that other users can read or change.

In: settings, and their sources. Out: a sentence for each such file. Warnings, not errors: a
container has no other users.
"""

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from receiver.config.settings import Origin, Settings, read_path


def file_warnings(
    settings: Settings, origins: Iterable[Origin], keys: Iterable[Path]
) -> Iterator[str]:
    """Warn of files that others can write, and of secrets that others can read.

    `keys` are the private keys that web.config.file names.
    """
    secrets = [settings.web_config_file, settings.bearer_token_file]
    secrets += [origin.file for origin in origins]
    for path in [*(read_path(name) for name in secrets if name), *keys]:
        if warning := mode_warning(path, secret=True):
            yield warning
    if settings.metrics_json and (
        warning := mode_warning(read_path(settings.metrics_json), secret=False)
    ):
        yield warning


def mode_warning(path: Path, *, secret: bool) -> str:
    """Warn of a file's mode; empty where the mode is right, or the file is missing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    if mode & stat.S_IWOTH or (secret and mode & stat.S_IROTH):
        what = "change" if mode & stat.S_IWOTH else "read"
        return f"{path}: every user on this machine can {what} it; chmod {'o-rwx' if secret else 'o-w'}"
    if mode & stat.S_IWGRP:
        return f"{path}: every user of its group can change it; chmod g-w"
    return ""
