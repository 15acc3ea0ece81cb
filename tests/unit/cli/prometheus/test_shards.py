"""remote_write entries that share the series out: each series reaches one receiver, folded whole."""

import json
from typing import Any

import pytest
import yaml

from receiver.cli.findings import Finding, Mark
from receiver.cli.main import main
from receiver.cli.prometheus.shards import judge_shards, read_shard
from receiver.cli.relabel import addresses, in_camel_case, remote_write, shard_rules
from receiver.intake.metrics_json import Entry, parse

POD = "http://r-{}.r-pods.monitoring.svc:9201/api/v1/write"
SERVICE = "http://r.monitoring.svc:9201/api/v1/write"
RAW = '"nv_inference_count"'
MEAN = '{"name": "nv_inference_*_duration_us", "as": "mean", "per": "nv_inference_request_success", "keep": ["model"]}'
DELTA = '{"name": "nv_inference_count", "as": "delta"}'
JOINED = '{"name": "nv_inference_count", "as": "delta", "drop": ["gpu_uuid"]}'


def entries(*texts: str) -> tuple[Entry, ...]:
    """Read entries of a metrics.json."""
    return tuple(parse(f'{{"customMetrics": [{", ".join(texts)}]}}'.encode(), "m.json").entries)


def shares(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Make what `relabel --shards` prints; `changes` are made to each hashmod rule."""
    made = remote_write(addresses(POD, count), [])
    for entry in made:
        entry["write_relabel_configs"][0] |= changes
    return made


def judge(written: list[dict[str, Any]], *texts: str) -> list[Finding]:
    """Judge entries, and give what is not well."""
    found = judge_shards(written, entries(*(texts or (RAW,))))
    return [each for each in found if each.mark is not Mark.OK]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("entry", [RAW, MEAN, DELTA, JOINED])
def test_what_relabel_prints_is_right(count: int, entry: str) -> None:
    """For any number of receivers, folded or not."""
    assert judge(shares(count), entry) == []
    [well] = judge_shards(shares(count), entries(entry))
    assert well.detail == f"{count} shards over job, instance, each with one receiver"


def test_two_receivers_without_shards_double() -> None:
    """A warning, for the two may deliver to two resources; not where each has names of its own."""
    both = [{"url": POD.format(0)}, {"url": POD.format(1)}]
    [found] = judge(both, RAW, '"nv_gpu_power_usage"')
    assert found.mark is Mark.WARN
    assert "2 receivers are each sent nv_inference_count, nv_gpu_power_usage" in found.detail
    rules = ({"source_labels": ["__name__"], "regex": f"nv_{part}_.*", "action": "keep"} for part in ("gpu", "inference"))  # fmt: skip
    apart = [each | {"write_relabel_configs": [rule]} for each, rule in zip(both, rules, strict=True)]  # fmt: skip
    assert judge(apart, RAW, '"nv_gpu_power_usage"') == []


@pytest.mark.parametrize(
    ("written", "entry", "words"),
    [
        (shares(3)[:2], RAW, "no entry keeps shard 2 of 3"),
        ([*shares(3), shares(3)[1]], RAW, "shard 1 of 3 goes to"),
        ([*shares(2), {"url": SERVICE}], RAW, "takes every series"),
        ([shares(2)[0], shares(3)[1]], RAW, "modulus is 2 for"),
        ([shares(2)[0], shares(2, source_labels=["instance"])[1]], RAW, "hashes over job, instance, http"),
        (shares(2, source_labels=[]), RAW, "over no label"),
        (shares(2, source_labels=["__name__"]), MEAN, "makes one item of series that differ in it"),
        (shares(2, source_labels=["job", "gpu_uuid"]), JOINED, "the hash is over gpu_uuid"),
        (shares(2, source_labels=["version"]), MEAN, "the hash is over version"),
        (shares(2, source_labels=["instance", "prometheus_replica"]), RAW, "two Prometheus replicas"),
    ],
)  # fmt: skip
def test_what_would_lose_or_double_is_refused(written: list[dict[str, Any]], entry: str, words: str) -> None:  # fmt: skip
    """With the place and what to write."""
    found = judge(written, entry)
    assert [each.mark for each in found] == [Mark.FAIL]
    assert words in found[0].detail
    assert found[0].fix


@pytest.mark.parametrize(
    ("labels", "entry"),
    [(["model"], MEAN), (["__name__"], DELTA), (["gpu_uuid"], DELTA), (["pod"], MEAN), (["version"], RAW)],
)  # fmt: skip
def test_hashes_that_part_no_item_are_let_be(labels: list[str], entry: str) -> None:
    """A label that stays on the items, or that comes with the target."""
    assert judge(shares(2, source_labels=labels), entry) == []


def test_the_rules_are_followed_in_their_order() -> None:
    """A keep before its hash keeps nothing, and a hash whose label stays is told."""
    hashed, keep, drop = shard_rules(0, 2)
    early = read_shard({"write_relabel_configs": [keep, hashed, drop]})
    assert early
    assert not early.kept
    left = [{"url": str(n), "write_relabel_configs": shard_rules(n, 2)[:2]} for n in range(2)]
    [found] = judge(left)
    assert found.mark is Mark.WARN
    assert "__tmp_shard is not dropped" in found.detail
    dropping = {"source_labels": ["__tmp_shard"], "regex": "0", "action": "drop"}
    shard = read_shard({"write_relabel_configs": [shard_rules(0, 3)[0], dropping]})
    assert shard
    assert shard.kept == {1, 2}
    assert read_shard({"write_relabel_configs": [hashed | {"modulus": 10**9}]}) is None
    assert read_shard({}) is None


def test_a_service_may_have_several_behind_it() -> None:
    """It cannot be known: a warning, where entries fold."""
    [found] = judge([{"url": SERVICE}], DELTA)
    assert found.mark is Mark.WARN
    assert "is a Service" in found.detail
    assert judge([{"url": SERVICE}], RAW) == []
    assert judge([{"url": POD.format(0)}], DELTA) == []
    assert judge([{"url": "http://["}], DELTA) == []


def test_relabel_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    """As YAML that Prometheus takes, in the operator's spelling too, and as JSON."""
    given = ["relabel", "--shards", "2", "--url", POD]
    assert main(given) == 0
    written = yaml.safe_load(capsys.readouterr().out)["remote_write"]
    assert [each["url"] for each in written] == [POD.format(0), POD.format(1)]
    assert judge(written, MEAN) == []
    assert written[0]["write_relabel_configs"][0]["source_labels"] == ["__name__"]
    assert main([*given, "--operator", "--json"]) == 0
    [first, _] = json.loads(capsys.readouterr().out)["remoteWrite"]
    assert first["queueConfig"]["retryOnRateLimit"] is True
    assert first["writeRelabelConfigs"][1] == {
        "sourceLabels": ["job", "instance"], "modulus": 2, "targetLabel": "__tmp_shard", "action": "hashmod",
    }  # fmt: skip
    assert main(["relabel", "--operator"]) == 0
    assert "writeRelabelConfigs:\n  - sourceLabels:" in capsys.readouterr().out
    assert in_camel_case(5) == 5


def test_relabel_refuses_what_it_cannot_print(capsys: pytest.CaptureFixture[str]) -> None:
    """An address without a place for the number, and a number that is none."""
    assert main(["relabel", "--shards", "2", "--url", SERVICE]) == 2
    assert "has no {}" in capsys.readouterr().err
    assert main(["relabel", "--shards", "3", "--url", "http://a,http://b"]) == 2
    assert "2 addresses, and there are 3 receivers" in capsys.readouterr().err
    assert main(["relabel", "--shards", "2", "--url", "http://a:1, http://a:2"]) == 0
    assert "url: http://a:2\n" in capsys.readouterr().out
    assert main(["relabel", "--shards", "0"]) == 2
    assert "from 1 to 1000" in capsys.readouterr().err
