"""The status page in a real browser: what it says, that it is live, and that anybody can use it.

With PAGE_SCREENSHOTS=folder the pictures stay there, to be looked at.
"""

import json
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.sandbox import Sandbox, Server, serve
from tests.integration.browser import Page, browsing, chromium
from tests.integration.receivers import ReceiverProcess, Running, receiving, script
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop

pytestmark = pytest.mark.skipif(not chromium(), reason="Debian's chromium is not installed")

STATE = "document.querySelector('#line b')?.textContent"
NASTY = '<img src=x onerror="document.title=1">'


@asynccontextmanager
async def open_page(
    folder: Path, names: str = '["nv_*"]', **flags: str
) -> AsyncIterator[tuple[Page, Running, Server]]:
    """Run a sandbox, a receiver that selects `names`, and a browser."""
    path = folder / "own.json"
    path.write_text(f'{{"customMetrics": {names}}}')
    given = {"metrics_json": str(path), **flags}
    async with serve(Sandbox()) as server, browsing(folder) as page, receiving(folder, server.connection_string, **given) as running:  # fmt: skip
        yield page, running, server
        assert not [each for each in page.complaints if "favicon" not in each]


def keep(folder: Path, name: str) -> Path:
    """Say where a picture goes."""
    kept = Path(os.environ.get("PAGE_SCREENSHOTS", folder))
    kept.mkdir(parents=True, exist_ok=True)
    return kept / f"{name}.png"


def scrape(number: int, models: int = 3) -> Iterator[Point]:
    """Make what one scrape of a Triton brings, and some that nobody selected."""
    now_ms = int(time.time() * 1000)
    for model in range(models):
        labels = (("instance", "triton-0:8002"), ("job", "triton"), ("model", f"model_{model}"))
        yield Point("nv_inference_request_success", labels, now_ms, 10.0 * number)
        yield Point("nv_inference_request_success_irate", labels, now_ms, 10 + math.sin(number))
        yield Point("nv_inference_queue_summary_us", labels, now_ms, math.nan)
    yield Point("nv_gpu_utilization", (("gpu_uuid", "GPU-0"),), now_ms, 0.5)
    for other in range(12):
        yield Point(f"go_memstats_{other}_bytes", (("job", "prometheus"),), now_ms, 1.0)


async def feed(running: Running, times: int = 3) -> None:
    for number in range(times):
        reply = await post(running.session, running.url, encode(scrape(number)))
        assert reply.status == 204


@in_loop()
async def test_empty(tmp_path: Path) -> None:
    """Before anything came the page says what it waits for, and nothing is missing."""
    async with open_page(tmp_path) as (page, running, _):
        await page.look(running.url)
        assert await page.wait_for(STATE) == "WAITING"
        assert "remote_write" in await page.evaluate("document.querySelector('#hint').textContent")
        assert await page.wait_for("document.querySelectorAll('#plots svg').length") == 4
        assert await page.evaluate("document.querySelector('#no-rows').checkVisibility()")
        await page.screenshot(keep(tmp_path, "empty"))


@in_loop()
async def test_flow_adds_up_and_is_live(tmp_path: Path) -> None:
    """The chain's numbers are the ledger's, and what comes while one looks is shown without reloading."""
    async with open_page(tmp_path, '["nv_inference_*", "nv_gpu_utilization", "nv_cpu_utilisation"]') as (page, running, _):  # fmt: skip
        await page.look(running.url)
        await feed(running)
        await running.idle()
        await page.wait_for("document.querySelectorAll('#rows tr:not(.group)').length == 4")
        big = "[...document.querySelectorAll('#chain .big')].map((each) => each.firstChild.textContent)"
        await page.wait_for(f"{big}[3] == '21'")
        # 22 samples a scrape, 12 of them not selected, 3 not a number: three scrapes.
        assert await page.evaluate(big) == ["66", "21", "0", "21"]
        chain = await page.evaluate("document.querySelector('#chain').textContent")
        assert "= 66 received − 36 not selected − 9 dropped" in chain  # noqa: RUF001
        assert "= 21 committed − 0 rejected − 0 expired − 0 more waiting" in chain  # noqa: RUF001
        text = "document.querySelector('#missing').textContent"
        assert "nv_cpu_utilization" in await page.wait_for(text)
        await feed(running, 1)
        await page.wait_for(f"{big}[0] == '88'")


@in_loop(120)
async def test_each_entry_has_its_month(tmp_path: Path) -> None:
    """Counted on the series that come, at the interval of their samples; forty entries fit a narrow window."""
    names = [f"nv_own_{number}" for number in range(39)]
    wanted = json.dumps([*names, {"name": "nv_own_energy", "as": "delta"}])
    async with open_page(tmp_path, wanted, price_per_gb="2", metric_series_max="2") as (page, running, _):  # fmt: skip
        await page.look(running.url, width=380)
        start_ms = int(time.time() * 1000) - 600_000
        labels = [(("instance", "i:1"), ("job", "j"), ("model", f"m{number}")) for number in (1, 2)]

        points = [
            Point(name, each, start_ms + 15_000 * number, float(number))
            for number in range(3)
            for name in [*names, "nv_own_energy"]
            for each in labels
        ]
        assert (await post(running.session, running.url, encode(points))).status == 204
        await page.wait_for(
            "document.querySelector('#entries-note')?.textContent.includes('every 15 s')", 40
        )
        assert await page.evaluate("document.querySelectorAll('#entries tr').length") == 12 + 3
        assert await page.evaluate("document.documentElement.scrollWidth") == 380
        await page.screenshot(keep(tmp_path, "cost-narrow"))
        await page.evaluate("document.querySelector('#all-entries').click()")
        rows = await page.evaluate("[...document.querySelectorAll('#entries tr')].map((row) => [...row.children].map((cell) => cell.textContent))")  # fmt: skip
        assert len(rows) == 40 + 3
        by_entry = {row[0]: row[1:3] for row in rows}
        month = 43_800 * 60 * 2
        assert by_entry["nv_own_7"] == ["2", f"{month // 15:,}"]
        assert by_entry["nv_own_energy as delta"] == ["2", f"{month // 60:,}"]
        assert "The same metrics, folded" in by_entry
        tiles = "document.querySelector('#tiles').textContent"
        assert "Most: nv_own_0, 2 of 2" in await page.evaluate(tiles)
        third = [Point("nv_own_0", (("model", "m3"),), start_ms + 600_000, 1.0)]
        assert (await post(running.session, running.url, encode(third))).status == 204
        await page.wait_for(f"{tiles}.includes('new ones of nv_own_0 are dropped')", 40)


@in_loop()
async def test_metrics_are_found_and_opened_by_keyboard(tmp_path: Path) -> None:
    """The filter narrows the table; Tab reaches it and the list of what is not selected."""
    async with open_page(tmp_path) as (page, running, _):
        await feed(running)
        await page.look(running.url)
        await page.wait_for("document.querySelectorAll('#rows tr:not(.group)').length == 4")
        for _ in range(4):  # errors, what is not selected, then the filter
            await page.key("Tab", 9)
            if await page.evaluate("document.activeElement.id") == "search":
                break
        assert await page.evaluate("document.activeElement.id") == "search"
        await page.do("Input.insertText", text="gpu")
        await page.wait_for("document.querySelectorAll('#rows tr:not(.group)').length == 1")
        row = await page.evaluate("document.querySelector('#rows tr:not(.group)').textContent")
        assert row.startswith("nv_gpu_utilization")
        await page.evaluate("document.querySelector('#search').value = ''")
        await page.evaluate("document.querySelector('#d-unselected summary').focus()")
        await page.key("Enter", 13)
        await page.do("Input.dispatchKeyEvent", type="char", text="\r")
        await page.wait_for("document.querySelectorAll('#unselected li').length == 12")


@in_loop()
async def test_folded_metrics_show_their_last_item(tmp_path: Path) -> None:
    """What the entry does, the last item and the means of the last windows; the API and the tap say the same."""
    entries = (
        '["c", {"name": "us", "as": "mean", "per": "n"},'
        ' {"name": "c", "as": "delta", "rename": "c_grown"}]'
    )
    start_ms = (int(time.time()) // 60 - 12) * 60_000
    async with open_page(tmp_path, entries) as (page, running, _):
        async with running.session.get(f"{running.url}/api/v1/tap") as response:
            assert (await response.json())["items"] == []  # the tap is open now
        for step in range(41):  # ten windows, and the first sample of the next
            values = {"us": 20.0 * step * (step + 9), "n": 10.0 * step, "c": 3.0 * step}
            labels = (("instance", "h:8002"), ("job", "triton"), ("model", "a"))
            points = [Point(name, labels, start_ms + 15_000 * step, each) for name, each in values.items()]  # fmt: skip
            reply = await post(running.session, running.url, encode(points))
            assert reply.status == 204
        await page.look(running.url)
        small = "[...document.querySelectorAll('#rows tr:not(.group)')].map((row) => row.textContent).find((text) => text.startsWith('us'))"
        await page.wait_for(f"{small}?.includes('count 40')")
        row = await page.evaluate(small)
        assert "mean over n of each minute" in row
        drawn = "[...document.querySelectorAll('#rows tr:not(.group)')].find((row) => row.textContent.startsWith('us')).querySelector('svg path.line').getAttribute('d')"
        assert (await page.evaluate(drawn)).count("L") == 9
        async with running.session.get(f"{running.url}/api/v1/metrics") as response:
            rows = {each["name"]: each for each in (await response.json())["selected"]["rows"]}
        async with running.session.get(f"{running.url}/api/v1/tap?match=us") as response:
            tapped = (await response.json())["items"]
        await page.evaluate(
            "[...document.querySelectorAll('#rows th button')].find((each) => each.textContent == 'us').click()"
        )
        await page.wait_for(
            "document.querySelector('#rows tr.series')?.textContent.includes('cloud_RoleName')"
        )
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        await page.screenshot(keep(tmp_path, "folded"))
        await page.look(running.url, width=390, dark=True)
        await page.wait_for(f"{small}?.includes('count 40')")
        await hold(page)
        await page.screenshot(keep(tmp_path, "folded-phone"))
    assert set(rows) == {"us", "n", "c", "c_grown"}
    assert (rows["us"]["as"], rows["us"]["last_count"]) == ("mean", 40)
    assert rows["us"]["last_mean"] == rows["us"]["last_value"] / 40 == rows["us"]["high"]
    assert (rows["c_grown"]["source"], rows["c_grown"]["as"], rows["c_grown"]["last_value"]) == ("c", "delta", 12)  # fmt: skip
    assert (rows["c"]["as"], rows["c"]["last_value"]) == ("samples", 120)
    assert (rows["n"]["as"], rows["n"]["series"]) == ("", 0)
    assert [each["count"] for each in tapped][1:] == [40] * 9


@in_loop()
async def test_replicas_have_their_leader(tmp_path: Path) -> None:
    """Who leads, when each was last heard of, and what of each counts; without replicas nothing is said."""
    async with open_page(tmp_path, replica_label="replica") as (page, running, _):
        await page.look(running.url)
        assert await page.wait_for(STATE) == "WAITING"
        assert await page.evaluate("document.querySelector('#s-replicas').hidden")
        for replica in "ab":
            point = Point("nv_a", (("replica", replica),), int(time.time() * 1000), 1.0)
            assert (await post(running.session, running.url, encode([point]))).status == 204
        text = await page.wait_for("document.querySelector('#s-replicas:not([hidden]) #replicas li')?.textContent")  # fmt: skip
        assert text.startswith("a leads, since 20")
        assert "a: last request" in text
        assert "b: last request" in text
        assert "1 samples counted, 0 dropped as replica" in text
        assert "0 samples counted, 1 dropped as replica" in text


@in_loop()
async def test_routes_have_a_table(tmp_path: Path) -> None:
    """A row for each route with its items and its share; what comes below it is filled too."""
    connection = "InstrumentationKey=aaaaaaaa-0000-0000-0000-000000000000;IngestionEndpoint=http://127.0.0.1:9"  # fmt: skip
    (tmp_path / "a.secret").write_text(connection)
    route = {"name": "a", "match": {"model": "a_*"}, "connection_string_file": "a.secret"}
    (tmp_path / "routes.json").write_text(json.dumps({"routes": [route]}))
    async with open_page(tmp_path, routes=str(tmp_path / "routes.json")) as (page, running, _):
        await feed(running, 1)
        await page.look(running.url)
        rows = "[...document.querySelectorAll('#s-routes:not([hidden]) #routes tr')]"
        ready = f"{rows}.some((row) => row.children[2]?.textContent === '7')"
        assert await page.wait_for(ready)
        texts = await page.evaluate(f"{rows}.map((row) => [...row.children].map((cell) => cell.textContent))")  # fmt: skip
        assert [row[:2] for row in texts] == [["default", "open"], ["a", "open"]]
        assert all(" of " in row[5] for row in texts)
        assert await page.wait_for("document.querySelector('#live').textContent.startsWith('live')")


@in_loop()
async def test_texts_are_never_html(tmp_path: Path) -> None:
    """A metric's name from outside is shown as it is, whatever it holds."""
    async with open_page(tmp_path, '["*"]') as (page, running, _):
        reply = await post(running.session, running.url, encode([Point(NASTY, (), int(time.time() * 1000), 1.0)]))  # fmt: skip
        assert reply.status == 204
        await page.look(running.url)
        await page.wait_for("document.querySelectorAll('#rows tr:not(.group)').length")
        assert (
            await page.evaluate(
                "document.querySelector('#rows tr:not(.group) th').firstChild.textContent"
            )
            == NASTY
        )
        assert not await page.evaluate("document.querySelectorAll('img').length")


@in_loop()
async def test_policy_allows_nothing_but_itself(tmp_path: Path) -> None:
    """No script but the page's own runs, and no address but the receiver's is asked."""
    async with open_page(tmp_path) as (page, running, _):
        await page.look(running.url)
        await page.wait_for(STATE)
        await page.evaluate("{ const s = document.createElement('script'); s.textContent = 'window.bad = 1'; document.body.append(s); }")  # fmt: skip
        assert not await page.evaluate("window.bad")
        assert await page.evaluate("fetch('http://127.0.0.1:9/').then(() => '', (e) => e.name)") == "TypeError"  # fmt: skip
        assert len(page.complaints) >= 2
        page.complaints.clear()


OPEN = "document.querySelector('#rows tr:not(.group) button').click()"
SERIES = "[...document.querySelectorAll('#rows tr.series')].map((row) => row.textContent)"


@in_loop()
async def test_a_metric_opens_into_its_series(tmp_path: Path) -> None:
    """The row has the span of its series, whole numbers to the last digit; opened it has each of them."""
    async with open_page(tmp_path) as (page, running, _):
        now_ms = int(time.time() * 1000)
        points = [
            Point("nv_cpu_memory_used_bytes", (("model", model),), now_ms, value)
            for model, value in (("idle", 0.0), ("busy", 268_435_456.0))
        ]
        assert (await post(running.session, running.url, encode(points))).status == 204
        await page.look(running.url)
        last = "document.querySelector('#rows td[data-label=\"Last value\"] span')?.textContent"
        assert await page.wait_for(last) == "0 … 268,435,456"
        await page.evaluate(OPEN)
        assert await page.wait_for(f"{SERIES}.length == 2")
        busy, idle = await page.evaluate(SERIES)
        assert busy.startswith('model="busy"268,435,456')
        assert idle.startswith('model="idle"0')
        await page.screenshot(keep(tmp_path, "series"))
        await page.evaluate(OPEN)
        assert await page.wait_for(f"{SERIES}.length == 0")


@in_loop()
async def test_what_is_selected_stays_selected(tmp_path: Path) -> None:
    """Nothing is rebuilt under a reader who copies an error while others come in."""
    async with open_page(tmp_path) as (page, running, _):
        await post(running.session, running.url, b"no snappy")
        await page.look(running.url)
        await page.wait_for("document.querySelector('#errors li .mono')?.textContent")
        select = "getSelection().selectAllChildren(document.querySelector('#errors li .mono'))"
        await page.evaluate(select)
        await feed(running)
        for _ in range(3):
            await post(running.session, running.url, b"no snappy")
        await page.wait_for("document.querySelector('#errors').textContent.includes('4 times')")
        assert "400" in await page.evaluate("getSelection().toString()")


@in_loop()
async def test_retry_now_and_rejected_items(tmp_path: Path) -> None:
    """After a fix nobody waits for the next attempt; what was rejected is shown with the service's words."""
    async with open_page(tmp_path, retry_max_seconds="120s") as (page, running, server):
        script(server, {"kind": "status", "status": 403, "times": None})
        await feed(running, 1)
        await page.look(running.url)
        await page.wait_for("document.querySelector('#retry')?.checkVisibility()")
        await page.screenshot(keep(tmp_path, "blocked"))
        asked = (
            "fetch('api/v1/status').then((r) => r.json()).then((s) => s.delivery.wait_seconds > 20)"
        )
        await page.wait_for(asked)
        script(server, {"kind": "items", "every": 7, "status_code": 400, "message": "wrong field"})
        await page.evaluate("document.querySelector('#retry').click()")
        await running.idle(within_seconds=10)  # else three quarters of a minute later
        await page.evaluate("document.querySelector('#d-rejected').open = true")
        await page.wait_for("document.querySelector('#rejected').textContent.includes('wrong field')")  # fmt: skip


NO_ANSWER = "document.querySelector('#line').textContent.startsWith('NO ANSWER')"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
@in_loop(60)
async def test_a_receiver_that_does_not_answer(tmp_path: Path, end: signal.Signals) -> None:
    """The verdict itself turns bad and says since when; what stands below is marked as old; and back."""
    async with (
        serve(Sandbox()) as server,
        browsing(tmp_path) as page,
        ReceiverProcess(tmp_path, server.connection_string) as receiver,
        aiohttp.ClientSession() as session,
    ):
        assert (await post(session, receiver.url, encode(scrape(1)))).status == 204
        await page.look(receiver.url)
        assert await page.wait_for(STATE) == "OK"
        receiver.signal(end)
        began = time.monotonic()
        await page.wait_for(NO_ANSWER)
        assert time.monotonic() - began < 15
        assert await page.evaluate("document.querySelector('#verdict').className") == "bad"
        assert await page.evaluate("document.title") == "NO ANSWER · appinsights-receiver"
        assert "Z" in await page.evaluate("document.querySelector('#old').textContent")
        assert await page.evaluate("document.querySelector('#below').className") == "old"
        said = await page.evaluate("document.querySelector('#announce').textContent")
        assert said.startswith("NO ANSWER")
        await page.screenshot(keep(tmp_path, f"no-answer-{end.name.lower()}"))
        if end is signal.SIGSTOP:
            receiver.signal(signal.SIGCONT)
        else:
            await receiver.start()
        await page.wait_for(f"!({NO_ANSWER}) && document.querySelector('#below').className == ''")


@pytest.mark.parametrize(("path", "what"), [("status", "the state"), ("cost", "the cost"), ("metrics", "the metrics"), ("history", "the last hour")])  # fmt: skip
@in_loop(60)
async def test_a_script_that_fails(tmp_path: Path, path: str, what: str) -> None:
    """An answer of another shape, as of another version: the page says so, goes on asking, and recovers."""
    broken = "document.querySelector('#broken:not([hidden])')?.textContent"
    live = "document.querySelector('#live').textContent"
    at_once = "document.dispatchEvent(new Event('visibilitychange'))"
    async with open_page(tmp_path) as (page, running, _):
        await page.look(running.url)
        assert await page.wait_for(STATE) == "WAITING"
        assert await page.evaluate(broken) is None
        await page.evaluate(f"window.asked = fetch; window.fetch = (path, ...rest) => path.startsWith('api/v1/{path}') ? Promise.resolve(new Response('null')) : asked(path, ...rest); {at_once}")  # fmt: skip
        text = await page.wait_for(broken)
        assert text.startswith(f"This page has failed to show {what} (TypeError: ")
        assert "Reload the page" in text
        assert "report this line" in text
        assert await page.evaluate(CONTRAST) == []
        await page.screenshot(keep(tmp_path, f"script-failed-{path}"))
        assert page.complaints, "the console has the error"
        page.complaints.clear()
        if path != "status":
            before = await page.evaluate(live)
            await page.wait_for(f"{live} != {json.dumps(before)}")
        assert await page.evaluate(broken) == text
        await page.evaluate(f"window.fetch = asked; {at_once}")
        await page.wait_for("document.querySelector('#broken').hidden")
        assert page.complaints == [], "one error is reported once"


@in_loop(60)
async def test_the_sandbox_s_page_tells_its_own_failure_from_no_answer(tmp_path: Path) -> None:
    """A script that fails is not blamed on the sandbox; both are over when they are over."""
    state = "document.querySelector('#state')?.textContent"
    async with serve(Sandbox()) as server, browsing(tmp_path) as page:
        await page.look(f"http://127.0.0.1:{server.port}/")
        await page.wait_for(f"{state} === 'live'")
        await page.evaluate("window.asked = fetch; window.fetch = () => Promise.resolve(new Response('null'))")  # fmt: skip
        text = await page.wait_for(f"{state}?.startsWith('this page has failed') && {state}")
        assert "TypeError" in text
        assert page.complaints
        page.complaints.clear()
        await page.evaluate("window.fetch = () => Promise.reject(new TypeError('gone'))")
        await page.wait_for(f"{state} === 'the sandbox does not answer'")
        await page.evaluate("window.fetch = asked")
        await page.wait_for(f"{state} === 'live'")
        assert page.complaints == []


CONTRAST = """
(() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const low = [];
  for (const node of document.querySelectorAll("body *")) {
    if (![...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim())) continue;
    if (!node.checkVisibility() || node.closest("script, style, noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${node.tagName} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return low;
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desk"])
@in_loop(120)
async def test_everybody_can_read_it(tmp_path: Path, *, dark: bool, width: int) -> None:
    """Broken or well, light or dark: contrast of 4.5, nothing wider than the screen, a text for each plot."""
    mode = f"{'dark' if dark else 'light'}-{width}"
    async with open_page(tmp_path, '["nv_inference_*", "nv_gpu_utilization", "nv_cpu_utilisation"]') as (page, running, server):  # fmt: skip
        await feed(running)
        await running.idle()
        await page.look(running.url, width=width, dark=dark)
        await page.wait_for("document.querySelectorAll('#rows tr:not(.group)').length == 4")
        await page.wait_for(f"{STATE} == 'OK'")
        await hold(page)
        await page.screenshot(keep(tmp_path, f"fine-{mode}"))
        script(server, {"kind": "status", "status": 403, "times": None})
        await feed(running)
        await page.wait_for(f"{STATE} == 'BLOCKED'")
        await page.wait_for("document.querySelector('#errors').textContent.includes('403')")
        await hold(page)
        await page.screenshot(keep(tmp_path, f"broken-{mode}"))


async def hold(page: Page) -> None:
    assert await page.evaluate(CONTRAST) == []
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    assert await page.evaluate("[...document.querySelectorAll('svg')].every((each) => each.getAttribute('aria-label').length > 12)")  # fmt: skip
    names: Any = await page.do("Accessibility.getFullAXTree")
    roles = {each["role"]["value"] for each in names["nodes"] if not each.get("ignored")}
    assert {"heading", "searchbox", "table", "status", "list"} <= roles


@in_loop(150)
async def test_fifty_thousand_series(tmp_path: Path) -> None:
    """With 50,000 series seen and 2,000 selected the page opens in seconds, and stays small."""
    async with open_page(tmp_path, '["nv_*"]', body_max_bytes="64MiB", decoded_max_bytes="256MiB", parsed_max_bytes="512MiB") as (page, running, _):  # fmt: skip
        now_ms = int(time.time() * 1000)
        points = [
            Point(f"{'nv' if number < 2000 else 'app'}_metric_{number % 500}", (("series", str(number)),), now_ms, float(number))
            for number in range(50_000)
        ]  # fmt: skip
        for start in range(0, len(points), 2000):
            reply = await post(running.session, running.url, encode(points[start : start + 2000]))
            assert reply.status == 204
        began = time.monotonic()
        await page.look(running.url)
        await page.wait_for(
            "document.querySelectorAll('#rows tr:not(.group):not(:has(.empty))').length == 50"
        )
        seconds = time.monotonic() - began
        asked = time.monotonic()
        async with running.session.get(f"{running.url}/api/v1/metrics") as response:
            size = len(await response.read())
        answered = time.monotonic() - asked
        print(f"page {seconds:.2f} s, metrics {size} bytes in {answered * 1000:.0f} ms")
        assert seconds < 20, "on a busy machine; docs/http-api.md has what benchmarks.page measured"
        assert size < 200_000
        found = await page.evaluate("document.querySelector('#metrics-count').textContent")
        assert found == "500 selected"
        more = await page.evaluate("document.querySelector('#rows td.empty').textContent")
        assert more == "50 of 500 metrics shown; filter to see others"
        await page.wait_for("[...document.querySelectorAll('#rows td[data-label=Series]')].every((each) => each.textContent == '4')")  # fmt: skip
        await page.screenshot(keep(tmp_path, "busy"))
