"""Keep the programs that `make run` and the end-to-end tests share.

A part is a folder under the parts folder: `.parts/` at the top of the
repository, or what `PARTS_DIR` says. A part is there whole or not at all, is
made once however many ask for it at a time, and is used without a network
from then on. What cannot be had ends in `MissingPart`, whose message is for a
person: one sentence on what is missing, one on the way round.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class MissingPart(Exception):
    """Something that the demonstration needs cannot be had on this machine."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def parts_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the absolute path of the parts folder, which may not exist yet."""
    return Path(environ.get("PARTS_DIR") or REPOSITORY / ".parts").absolute()


def make_once(part: Path, build: Callable[[Path], None]) -> Path:
    """Return the folder `part`, filled by `build` if it is not there yet.

    `build` gets an empty folder beside `part`, which is renamed when it
    returns and removed when it raises. A second process that asks for the
    same part waits for the first.
    """
    if part.is_dir():
        return part
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part.parent / f".{part.name}.lock"):
            if not part.is_dir():
                _build_beside(part, build)
    except OSError as error:
        raise MissingPart(
            f"Writing {part} failed: {error.strerror or error}. "
            "Make room or name another folder with PARTS_DIR, and run it again."
        ) from error
    return part


def _build_beside(part: Path, build: Callable[[Path], None]) -> None:
    unfinished = part.parent / f".{part.name}.unfinished"
    # Whoever left one was killed: nobody else can be at work, we hold the lock.
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        build(unfinished)
        unfinished.rename(part)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The kernel drops the lock with the process, so a killed run locks nobody out.
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
