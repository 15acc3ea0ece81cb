r"""The format of the file that carries an outbox to another machine; its rows are opaque.

In: tables' rows, one by one. Out: a file, and the same rows again. The file is written and
read in blocks, so its size does not matter; truncation or a change is noticed before a row
is used.

    appinsights-receiver outbox export\n
    unfinished ␣␣…\n      or "complete": 16 bytes, overwritten in place at the end
    frames: kind (1 byte), length (8 bytes, big-endian), payload
        H  JSON: version, id, tables with their columns, counts; the first frame
        R  a row: the table's number (1 byte), then its values
        E  SHA-256 of all frames before; the last frame

An export that moves is complete when its outbox no longer has the items: until then the
file is "unfinished", and cannot be imported.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from receiver.errors import OutboxError

VERSION = 1
MAGIC = b"appinsights-receiver outbox export\n"
UNFINISHED, COMPLETE = b"unfinished     \n", b"complete       \n"
FRAME = struct.Struct(">cQ")
HEADER, ROW, END = b"H", b"R", b"E"
HEADER_LIMIT_BYTES = 1 << 20
BLOCK_BYTES = 1 << 20
Value = int | float | str | bytes | None
Row = Sequence[Value]


@dataclass(frozen=True, slots=True)
class Header:
    """An export's header. `tables` has the columns of each table, in the rows' order."""

    id: str
    made_at: float
    host: str
    receiver: str
    database_version: int
    moves: bool
    tables: Mapping[str, Sequence[str]]
    counts: Mapping[str, int]


class Writer:
    """Writes an unfinished export; an error inside the context removes the file."""

    def __init__(self, partial: Path, header: Header) -> None:
        """Create the file, with its header. Raises: OSError."""
        self._partial = partial
        self._tables = list(header.tables)
        self._digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(partial, flags, 0o600), "wb", BLOCK_BYTES)
        self._file.write(MAGIC + UNFINISHED)
        document = {name: getattr(header, name) for name in Header.__slots__}
        self._frame(HEADER, json.dumps({"version": VERSION, **document}).encode())

    def row(self, table: str, row: Row) -> None:
        """Write a row. Raises: OSError."""
        self._frame(ROW, bytes([self._tables.index(table)]) + b"".join(map(_encode, row)))

    def finish(self) -> None:
        """Write the digest, and sync the file. Raises: OSError."""
        self._frame(END, self._digest.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        _sync_directory(self._partial.parent)

    def _frame(self, kind: bytes, payload: bytes) -> None:
        head = FRAME.pack(kind, len(payload))
        self._digest.update(head)
        self._digest.update(payload)
        self._file.write(head)
        self._file.write(payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._partial.unlink()


def partial_of(path: Path, identifier: str) -> Path:
    """Return the name of the file while it is written, different for each export."""
    return path.with_name(f"{path.name}.{identifier[:8]}.partial")


def complete(partial: Path, path: Path) -> None:
    """Mark a finished file as complete, and give it its name. Raises: OSError."""
    fd = os.open(partial, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(fd, COMPLETE, len(MAGIC))
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Reader:
    """Reads an export; the whole file is checked before the first row."""

    def __init__(self, path: Path) -> None:
        """Read the header, and check the file. Raises: OutboxError, which says what to do."""
        self.path = path
        try:
            with path.open("rb") as file:
                self.is_complete = self._read_state(file)
                self._start = file.tell()
                self.header = self._check(file)
        except OSError as error:
            raise OutboxError(f"{path} cannot be read: {error.strerror}") from error

    def _read_state(self, file: IO[bytes]) -> bool:
        if file.read(len(MAGIC)) != MAGIC:
            raise OutboxError(f"{self.path} is no export of an outbox")
        return file.read(len(COMPLETE)) == COMPLETE

    def _check(self, file: IO[bytes]) -> Header:
        """Read all frames, in blocks, and compare the digest. Raises: OutboxError."""
        digest = hashlib.sha256()
        header: Header | None = None
        while True:
            head = file.read(FRAME.size)
            if len(head) < FRAME.size:
                raise self._cut_off()
            kind, size = FRAME.unpack(head)
            if kind == END:
                break
            digest.update(head)
            if header is None:
                if kind != HEADER or size > HEADER_LIMIT_BYTES:
                    raise self._changed()
                payload = self._read(file, size)
                digest.update(payload)
                header = self._header(payload)
                continue
            while size:
                block = self._read(file, min(size, BLOCK_BYTES))
                digest.update(block)
                size -= len(block)
        if header is None or self._read(file, size) != digest.digest() or file.read(1):
            raise self._changed()
        return header

    def _read(self, file: IO[bytes], size: int) -> bytes:
        if size > BLOCK_BYTES:
            raise self._changed()
        block = file.read(size)
        if len(block) < size:
            raise self._cut_off()
        return block

    def _header(self, payload: bytes) -> Header:
        try:
            document: dict[str, Any] = json.loads(payload)
            if (version := int(document.pop("version"))) > VERSION:
                message = f"{self.path} has version {version}, written by a newer receiver; this one reads {VERSION}: import it with the newer one"
                raise OutboxError(message)
            return Header(**document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._changed() from error

    def _cut_off(self) -> OutboxError:
        return OutboxError(f"{self.path} is cut off: it was not copied, or not written, to its end")

    def _changed(self) -> OutboxError:
        return OutboxError(f"{self.path} was changed since it was written: copy it again")

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yield the rows: the table and the values. Raises: OutboxError, OSError."""
        tables = list(self.header.tables)
        with self.path.open("rb") as file:
            file.seek(self._start)
            while True:
                kind, size = FRAME.unpack(file.read(FRAME.size))
                if kind == END:
                    return
                payload = file.read(size)
                if kind == ROW:
                    yield tables[payload[0]], list(_decode(payload, 1))


def _encode(value: Value) -> bytes:
    match value:
        case None:
            return b"N"
        case int():
            return b"I" + value.to_bytes(8, "big", signed=True)
        case float():
            return b"F" + struct.pack(">d", value)
        case str():
            text = value.encode()
            return b"T" + len(text).to_bytes(8, "big") + text
        case _:
            return b"B" + len(value).to_bytes(8, "big") + value


def _decode(payload: bytes, place: int) -> Iterator[Value]:
    while place < len(payload):
        kind, field = payload[place : place + 1], payload[place + 1 : place + 9]
        place += 1
        if kind == b"N":
            yield None
            continue
        place += 8
        if kind == b"I":
            yield int.from_bytes(field, "big", signed=True)
        elif kind == b"F":
            yield float(struct.unpack(">d", field)[0])
        else:
            size = int.from_bytes(field, "big")
            value = payload[place : place + size]
            yield value.decode() if kind == b"T" else value
            place += size
