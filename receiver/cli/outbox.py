"""`outbox`: show the content of an outbox, export it into a file, import it from one."""

import argparse
import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from receiver.azure.masking import mask_words
from receiver.cli.terminal import BOLD, DIM, Printer, err, out
from receiver.config.settings import Origin, Settings, read_path
from receiver.errors import OutboxError, SettingsError
from receiver.fold.merge import merge, read_fold
from receiver.outbox import transfer
from receiver.outbox.schema import FILE_NAME
from receiver.outbox.transfer import Contents, FoldParts, MergedFold, Transferred
from receiver.outbox.transfer_file import Reader
from receiver.text import moment, size, span

TAKEN = "An outbox imports a file once: import it in one place only."


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show, export or import. Raises: OutboxError, SettingsError."""
    if given.copy and given.action != "export":
        raise SettingsError(f"--copy is for export, not for {given.action}")
    if given.action != "show" and not given.file:
        raise SettingsError(f"outbox {given.action} wants a file: appinsights-receiver outbox {given.action} FILE")  # fmt: skip
    if given.action == "show":
        document = (
            _of_file(read_path(given.file)) if given.file else _of_outbox(settings.outbox_dir)
        )
        _show(document, as_json=given.json)
        return 0
    path = read_path(given.file)
    if given.action == "export":
        done = transfer.export(settings.outbox_dir, path, copy=given.copy)
        _say_exported(done, settings.outbox_dir, path, given)
    else:
        done = transfer.import_(settings.outbox_dir, path, _merge)
        _say_imported(done, settings, path, as_json=given.json)
    return 0


def _merge(mine: FoldParts, theirs: FoldParts) -> MergedFold:
    """Merge two folds. Raises: CannotMerge."""
    now_ms = round(time.time() * 1000)
    folds = [
        read_fold(contents.state, contents.series, contents.log, now_ms)
        for contents in (mine, theirs)
    ]
    one = merge(folds[0], mine.series, folds[1], theirs.series)
    return MergedFold(one.fold.encode(), one.added, one.removed)


def _say_exported(
    done: Transferred, directory: Path, path: Path, given: argparse.Namespace
) -> None:
    if given.json:
        print(json.dumps(_document(done, str(done.finished or path), str(directory))))
    if done.lost:
        err().line(f"warning: {done.lost}. If it was imported elsewhere nothing is lost; else its items are lost.")  # fmt: skip
    if given.json:
        return
    printer = out()
    if done.finished:
        printer.line(f"The export that was interrupted is complete: {done.finished}, {done.contents.items:,} items.", BOLD)  # fmt: skip
        if done.pending:
            printer.line(f"{done.pending:,} items came since: export them into another file.")
        return
    what = "are copied to" if given.copy else "have moved to"
    printer.line(f"{_amount(done.contents)} {what} {path}.", BOLD)
    if given.copy:
        printer.line("The outbox has them still: import the copy only where this outbox will never be started again, or they are sent twice.")  # fmt: skip
    else:
        printer.line(TAKEN)


def _say_imported(done: Transferred, settings: Settings, path: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_document(done, str(path), str(settings.outbox_dir))))
        return
    printer = out()
    printer.line(f"{_amount(done.contents)} have moved from {path} into {settings.outbox_dir}.", BOLD)  # fmt: skip
    printer.line(
        f"{done.pending:,} items wait there; the next start of its receiver delivers them."
    )


def _document(done: Transferred, file: str, directory: str) -> dict[str, Any]:
    counts = {name: getattr(done.contents, name) for name in Contents.__slots__}
    return {"file": file, "outbox": directory, **counts, "pending": done.pending}


def _amount(contents: Contents) -> str:
    text = f"{contents.items:,} items ({size(contents.size_bytes)}, {contents.batches:,} batches)"
    return text + (f" and {contents.series:,} folded series" if contents.series else "")


def _of_file(path: Path) -> dict[str, Any]:
    """Describe an export. Raises: OutboxError."""
    reader = Reader(path)
    header = reader.header
    names = list(header.tables["batches"])
    by, items = names.index("destination"), names.index("items")
    destinations: dict[str, int] = {}
    for table, row in reader.rows():
        if table == "batches":
            key = mask_words(str(row[by]))
            destinations[key] = destinations.get(key, 0) + int(row[items] or 0)
    return {
        "file": str(path),
        "id": header.id,
        "complete": reader.is_complete,
        "copy": not header.moves,
        "host": header.host,
        "made_at": moment(header.made_at),
        "receiver": header.receiver,
        **header.counts,
        "destinations": destinations,
    }


def _of_outbox(directory: Path) -> dict[str, Any]:
    """Describe an outbox, also while a receiver uses it. Raises: OutboxError."""
    path = directory / FILE_NAME
    try:
        path.stat()
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            contents = transfer.contents_of(database)
            query = "SELECT destination, SUM(items) FROM batches GROUP BY destination"
            destinations = {mask_words(key): items for key, items in database.execute(query)}
            transfers = transfer.transfers_of(database)
    except (OSError, sqlite3.Error) as error:
        raise OutboxError(f"no outbox can be read in {directory}: {error}") from error
    return {
        "outbox": str(directory),
        **{name: getattr(contents, name) for name in Contents.__slots__},
        "destinations": destinations,
        "transfers": [
            {"direction": direction, "at": moment(at), "file": file, "items": items, "state": state}
            for _, direction, at, file, items, state in transfers
        ],
    }


def _show(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document))
        return
    printer = out()
    contents = Contents(**{name: document.get(name, 0) for name in Contents.__slots__})
    printer.line(f"{_amount(contents)} in {document.get('file') or document['outbox']}", BOLD)
    if document.get("file"):
        _show_origin(printer, document)
    if contents.items:
        now = time.time()
        oldest, newest = (span(max(0.0, now - at / 1000)) for at in (contents.oldest_ms, contents.newest_ms))  # fmt: skip
        printer.line(f"  oldest sample {oldest} old, newest {newest}; Application Insights takes 48 h")  # fmt: skip
    for key, items in document["destinations"].items():
        printer.line(f"  {items:,} items for {key}")
    for entry in document.get("transfers", ()):
        printer.line(f"  {entry['at']}  {entry['direction']} of {entry['items']:,} items, {entry['state']}: {entry['file']}", DIM)  # fmt: skip


def _show_origin(printer: Printer, document: Mapping[str, Any]) -> None:
    kind = "copy" if document["copy"] else "export"
    state = "complete" if document["complete"] else "NOT complete: run the export again where it was made"  # fmt: skip
    printer.line(f"  {kind} from {document['host']}, {document['made_at']}, {state}")
