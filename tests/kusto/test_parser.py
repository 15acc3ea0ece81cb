"""Microsoft's own parser takes every query of every output, with the documented columns."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from demo.parts import REPOSITORY
from receiver.intake.metrics_json import parse as read_metrics_json
from receiver.pack.alerts import log_rules, metric_rules
from receiver.pack.panels import panels
from receiver.pack.queries import markdown
from receiver.pack.sources import Sources
from receiver.pack.template import template
from receiver.pack.workbook import workbook
from receiver.triton import METRIC_NAMES
from tests.kusto.files import FILES
from tests.kusto.kusto import Database, blocks, parse, workbook_query
from tests.kusto.schemas import check_template

pytestmark = pytest.mark.timeout(300)


def queries_of(sources: Sources) -> Iterator[str]:
    """Give all queries that are written for a metrics.json, as they reach Azure."""
    made = template(workbook(panels(sources)), log_rules(sources), metric_rules(sources))
    for resource in json.loads(json.dumps(made))["resources"]:
        properties = resource["properties"]
        if "serializedData" in properties:
            for item in json.loads(properties["serializedData"])["items"]:
                content = item["content"]
                parameters = content.get("parameters", [])
                yield from (each["query"] for each in parameters if "query" in each)
                if "query" in content:
                    yield workbook_query(content["query"])
        for criterion in properties.get("criteria", {}).get("allOf", []):
            if "query" in criterion:
                yield criterion["query"]
    yield from blocks(markdown(panels(sources), next((mean.item for mean in sources.means), "")))


def random_file(number: int) -> dict[str, Any]:
    """Make a metrics.json of a few entries of any kind."""
    chance = random.Random(number)
    names = [
        *METRIC_NAMES,
        "nv_inference_*",
        "nv_*",
        "nv_gpu_*",
        "nv_inference_*_duration_us",
        "vllm:e2e",
    ]
    entries: list[Any] = []
    for name in chance.sample(names, chance.randint(1, 12)):
        how = chance.choice(["raw", "samples", "last", "aggregate", "delta", "mean"])
        if how == "raw":
            entries.append(name)
            continue
        entry: dict[str, Any] = {"name": name, "as": how}
        if how == "mean":
            entry["per"] = chance.sample(METRIC_NAMES[:4], chance.randint(1, 2))
        if how != "samples" and chance.random() < 0.3:
            entry["every"] = chance.choice(["2m", "5m", "1h"])
        if how in {"delta", "mean", "aggregate"} and chance.random() < 0.4:
            entry["keep"] = chance.sample(
                ["model", "version", "reason", "gpu_uuid"], chance.randint(1, 3)
            )
        if "*" not in name and chance.random() < 0.3:
            entry["rename"] = f"{name}_renämed:1"
        entries.append(entry)
    return {"customMetrics": entries}


def test_every_query_is_taken() -> None:
    """Of each form, and of twenty files made by chance; none has an error or a warning."""
    texts = [*FILES.values(), *(json.dumps(random_file(number)) for number in range(20))]
    queries = [
        query for text in texts for query in queries_of(Sources(read_metrics_json(text, "x")))
    ]
    assert len(queries) > 300
    refused = [
        (query, answer["errors"])
        for query, answer in zip(queries, parse(queries), strict=True)
        if answer["errors"]
    ]
    assert refused == []


def test_every_query_of_a_random_file_runs() -> None:
    """On a table without rows: it is a query, whatever it finds."""
    database = Database([])
    for number in range(0, 20, 4):
        for query in queries_of(Sources(read_metrics_json(json.dumps(random_file(number)), "x"))):
            database.run(query)


def test_every_template_is_whole() -> None:
    """Closed schemas of the documented fields; also with names that need quoting."""
    for text in (*FILES.values(), *(json.dumps(random_file(number)) for number in range(20))):
        sources = Sources(read_metrics_json(text, "x"))
        made = template(workbook(panels(sources)), log_rules(sources), metric_rules(sources))
        check_template(json.loads(json.dumps(made)))


def test_what_the_parser_is_for() -> None:
    """It refuses an unknown column, a keyword as a name, and a comparison of two types."""
    wrong = [
        "customMetrics | summarize sum(itemCount)",
        "customMetrics | summarize last = max(timestamp)",
        "customMetrics | where value = 1",
    ]
    assert all(answer["errors"] for answer in parse(wrong))


@pytest.mark.parametrize("page", ["kql.md", "azure.md", "folding.md", "cost.md"])
def test_the_queries_of_the_docs_are_taken(page: str) -> None:
    """Each block of a page."""
    path = REPOSITORY / "docs" / page
    if not path.exists():
        pytest.skip("there is no such page yet")
    queries = blocks(path.read_text(encoding="utf-8"))
    assert [answer["errors"] for answer in parse(queries) if answer["errors"]] == []
