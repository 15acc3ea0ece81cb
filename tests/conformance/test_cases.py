"""Each conformance case has exactly the outcome that docs/protocol.md tells."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
import snappy

from receiver.sandbox import Sandbox, serve
from tests.conformance.cases import CASES, V1, V2, Case
from tests.conformance.messages import S, T, one, v1, v2
from tests.conformance.table import PAGE, renewed
from tests.integration.receivers import receiving
from tests.integration.waiting import in_loop

WRITTEN = [f"X-Prometheus-Remote-Write-{kind}-Written" for kind in ("Samples", "Histograms", "Exemplars")]  # fmt: skip


def headers(case: Case) -> dict[str, str]:
    """Make a request's headers; None takes one out."""
    made: dict[str, str | None] = {
        "Content-Type": V1 if case.version == 1 else V2,
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0" if case.version == 1 else "2.0.0",
        **case.headers,
    }
    return {name: value for name, value in made.items() if value is not None}


async def try_one(session: aiohttp.ClientSession, url: str, case: Case) -> str:
    """Send a case; says what is wrong with its answer, or nothing."""
    body = bytes(snappy.compress(case.raw)) if case.is_compressed else case.raw
    async with session.request(
        case.method,
        f"{url}/api/v1/write",
        data=body if case.method == "POST" else None,
        headers=headers(case),
        skip_auto_headers=["Content-Type"],
    ) as response:
        text = await response.text()
        found = (response.status, [response.headers.get(name) for name in WRITTEN])
    counts = [str(count) for count in case.written] if case.version == 2 else [None] * 3
    if found != (case.status, counts) or case.says not in text or len(text) > 1024:
        return f"{case.name}: {found}, not {(case.status, counts)}; {text!r}, not {case.says!r}"
    return f"{case.name}: no text" if (case.status == 204) != (not text) else ""


def everything(folder: Path) -> str:
    """Write a metrics.json that selects all series."""
    path = folder / "all.json"
    path.write_text(json.dumps({"customMetrics": ["*"]}))
    return str(path)


def test_names_are_unique() -> None:
    """A case is found by its name."""
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []


@in_loop()
async def test_every_case_has_its_outcome(tmp_path: Path) -> None:
    """With everything selected, over HTTP: the status, the counts, the text."""
    async with (
        serve(Sandbox(now=lambda: T / 1000)) as server,
        receiving(
            tmp_path, server.connection_string, metrics_json=everything(tmp_path)
        ) as receiver,
    ):
        wrong = [await try_one(receiver.session, receiver.url, case) for case in CASES]
        assert [each for each in wrong if each] == []
        status = await receiver.status()
        assert "500" not in status["requests"]["replies"]


@in_loop()
async def test_what_is_not_selected_counts_as_written(tmp_path: Path) -> None:
    """Cases of success succeed with the same counts where none of their series is selected."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        good = [case for case in CASES if case.status == 204]
        wrong = [await try_one(receiver.session, receiver.url, case) for case in good]
        assert [each for each in wrong if each] == []
        assert (await receiver.status())["pending"] == 0
        assert len(good) > 80


@pytest.mark.parametrize("version", [1, 2])
@in_loop()
async def test_415_comes_before_the_body_is_read(tmp_path: Path, version: int) -> None:
    """The answer is there while the body is still to come."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        host, port = receiver.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        kind = V1 if version == 1 else V2
        writer.write(
            f"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            "Content-Encoding: zstd\r\nContent-Length: 1000000\r\n\r\n".encode()
        )
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 415")
        writer.close()


@in_loop()
async def test_metadata_is_kept_by_family_and_the_last_word_counts(tmp_path: Path) -> None:
    """Of 1.0 apart from samples, of 2.0 with them; counted, and a reason to refuse nothing."""
    async with (
        serve(Sandbox(now=time.time)) as server,
        receiving(
            tmp_path, server.connection_string, metrics_json=everything(tmp_path)
        ) as receiver,
    ):
        raw = v1(
            metadata=[(1, "a_total", "first", ""), (2, "b", "", ""), (3, "a_total", "last", "")]
        )
        assert not await try_one(receiver.session, receiver.url, Case("", "x", raw, version=1))
        raw = v2(S({"__name__": "h_bucket"}, metadata=(3, "help", "s")), one("unsaid"))
        assert not await try_one(receiver.session, receiver.url, Case("", "y", raw))
        assert (await receiver.status())["requests"]["metadata_families"] == 3


def test_the_table_in_the_docs_is_this_one() -> None:
    """`python -m tests.conformance.table` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page)
