"""Prove the pure parts of demo/ that fetch, configure and read Prometheus."""

import math
from pathlib import Path
from threading import Barrier, Thread

import pytest
import yaml

from demo.debian import debian_mirror, fetch
from demo.parts import REPOSITORY, MissingPart, make_once, parts_dir
from demo.prometheus import render_config, version_of
from demo.prometheus_api import Sample, Series, Target, series_of, targets_of
from demo.prometheus_config import duration, merged

COMMITTED = REPOSITORY / "prometheus" / "prometheus.yml"


class TestDebianMirror:
    """Which archive apt's own sources lead to."""

    def test_suite_asked_for_comes_first(self) -> None:
        """The mirror that has the suite among the sources is taken, wherever it stands."""
        printed = (
            "'http://a.test/debian/dists/bookworm/InRelease' a 0 \n"
            "'http://b.test/debian/dists/sid/InRelease' b 0 \n"
            "'http://b.test/debian/dists/sid/main/binary-amd64/Packages.xz' b 0 \n"
        )
        assert debian_mirror(printed, "sid") == "http://b.test/debian"

    def test_another_suite_will_do(self) -> None:
        """Every mirror of the archive has all suites; security and updates have not."""
        printed = (
            "'http://a.test/debian-security/dists/bookworm-security/InRelease' a 0 \n"
            "'mirror+file:/etc/apt/mirrors/debian.list/dists/bookworm/InRelease' b 0 \n"
        )
        assert debian_mirror(printed, "sid") == "mirror+file:/etc/apt/mirrors/debian.list"

    def test_other_systems_have_none(self) -> None:
        """Ubuntu's archive is not Debian's."""
        printed = "'http://a.test/ubuntu/dists/jammy/InRelease' a 0 \n"
        assert debian_mirror(printed, "bookworm") is None


def test_no_apt_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without apt, the message says what is missing, where to go, and leaves nothing behind."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPart, match=r"prometheus of Debian sid .* no apt-get\. Run it on"):
        fetch(["prometheus"], "sid", tmp_path)
    assert [path.name for path in (tmp_path / "debian/sid").iterdir()] == [".prometheus.lock"]


def test_fetched_needs_no_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is used as it is: the second call needs neither apt nor network."""
    monkeypatch.setenv("PATH", str(tmp_path))
    part = tmp_path / "debian/sid/prometheus+promtool"
    part.mkdir(parents=True)
    assert fetch(["prometheus", "promtool"], "sid", tmp_path) == part


class TestMakeOnce:
    """A part is there whole or not at all."""

    def test_many_ask_one_builds(self, tmp_path: Path) -> None:
        """Four that ask at a time get the same part, made once."""
        built: list[Path] = []
        together = Barrier(4)

        def build(folder: Path) -> None:
            built.append(folder)
            (folder / "whole").touch()

        def ask() -> None:
            together.wait()
            make_once(tmp_path / "part", build)

        threads = [Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(built) == 1
        assert (tmp_path / "part/whole").exists()

    def test_failure_leaves_nothing(self, tmp_path: Path) -> None:
        """A build that fails leaves no part, and the next one starts from empty."""

        def fail(folder: Path) -> None:
            (folder / "half").touch()
            raise MissingPart("no")

        with pytest.raises(MissingPart, match="no"):
            make_once(tmp_path / "part", fail)
        assert not (tmp_path / "part").exists()
        make_once(tmp_path / "part", lambda folder: (folder / "whole").touch())
        assert [path.name for path in (tmp_path / "part").iterdir()] == ["whole"]

    def test_leftovers_of_a_killed_run_are_cleared(self, tmp_path: Path) -> None:
        """A killed build's half does not get into the part."""
        (tmp_path / ".part.unfinished").mkdir()
        (tmp_path / ".part.unfinished/half").touch()
        make_once(tmp_path / "part", lambda folder: (folder / "whole").touch())
        assert [path.name for path in (tmp_path / "part").iterdir()] == ["whole"]

    def test_unwritable_folder_is_said_in_a_sentence(self, tmp_path: Path) -> None:
        """A parts folder that can't be made names PARTS_DIR as the way round."""
        (tmp_path / "file").touch()
        with pytest.raises(MissingPart, match="PARTS_DIR"):
            make_once(tmp_path / "file/part", lambda _folder: None)


def test_parts_dir_follows_the_environment() -> None:
    """PARTS_DIR wins; without it, or empty, the repository's own."""
    assert parts_dir({"PARTS_DIR": "/elsewhere"}) == Path("/elsewhere")
    assert parts_dir({"PARTS_DIR": ""}) == parts_dir({}) == REPOSITORY / ".parts"


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("prometheus, version 2.42.0+ds (branch: debian/sid, revision: 2.42.0+ds-5)", "2.42.0"),
        ("prometheus, version 3.5.3+ds1 (branch: debian/sid, revision: 3.5.3)", "3.5.3"),
        ("something else", "unknown"),
    ],
)
def test_version_of(printed: str, version: str) -> None:
    """Debian's suffix is no part of the version."""
    assert version_of(printed) == version


class TestRenderConfig:
    """The configuration of one run."""

    def test_sets_what_a_run_sets_and_keeps_the_rest(self, tmp_path: Path) -> None:
        """Addresses, intervals and rule paths are the run's; all else is as committed."""
        out = render_config(
            COMMITTED,
            tmp_path / "prometheus.yml",
            triton="127.0.0.1:18002",
            receiver_url="http://127.0.0.1:19201/api/v1/write",
            scrape_seconds=2,
            evaluation_seconds=0.5,
            remote_write_extra={"queue_config": {"max_shards": 1}, "remote_timeout": "5s"},
        )
        made, base = (yaml.safe_load(path.read_text()) for path in (out, COMMITTED))
        assert made["global"] == {
            "scrape_interval": "2s",
            "scrape_timeout": "2s",
            "evaluation_interval": "500ms",
        }
        assert made["rule_files"] == [str(COMMITTED.parent / "rules/triton_irate.yml")]
        assert made["scrape_configs"][0]["static_configs"] == [{"targets": ["127.0.0.1:18002"]}]
        assert made["remote_write"] == [
            {
                **base["remote_write"][0],
                "url": "http://127.0.0.1:19201/api/v1/write",
                "remote_timeout": "5s",
                "queue_config": {**base["remote_write"][0]["queue_config"], "max_shards": 1},
            }
        ]

    def test_timeout_stays_at_most_ten_seconds(self, tmp_path: Path) -> None:
        """A slow scrape interval does not stretch the timeout."""
        out = render_config(
            COMMITTED,
            tmp_path / "prometheus.yml",
            triton="t:1",
            receiver_url="http://r:1",
            scrape_seconds=15,
            evaluation_seconds=60,
        )
        assert yaml.safe_load(out.read_text())["global"]["scrape_timeout"] == "10s"


def test_merged_leaves_its_arguments_alone() -> None:
    """Maps are merged key by key, anything else is replaced, the originals stay."""
    base = {"a": {"b": 1, "c": 2}, "d": [1]}
    assert merged(base, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}
    assert base == {"a": {"b": 1, "c": 2}, "d": [1]}


@pytest.mark.parametrize(("seconds", "text"), [(2, "2s"), (0.5, "500ms"), (60.0, "60s")])
def test_duration(seconds: float, text: str) -> None:
    """Durations are whole seconds or milliseconds, as Prometheus has no fractions."""
    assert duration(seconds) == text


def test_duration_of_nothing_is_refused() -> None:
    """Prometheus takes 0s for the default; that is never what was meant."""
    with pytest.raises(ValueError, match="at least a millisecond"):
        duration(0)


class TestAnswers:
    """What the API says, as values."""

    def test_matrix_keeps_the_milliseconds(self) -> None:
        """Times as floats become the very milliseconds that remote write sends."""
        data = {
            "resultType": "matrix",
            "result": [
                {
                    "metric": {"__name__": "x", "model": "m"},
                    "values": [[1795392442.794, "10"], [1795392443, "NaN"]],
                }
            ],
        }
        (series,) = series_of(data)
        assert series.name == "x"
        assert series.labels == {"__name__": "x", "model": "m"}
        assert series.samples[0] == Sample(1795392442794, 10.0)
        assert series.samples[1].timestamp_ms == 1795392443000
        assert math.isnan(series.value)

    def test_vector_and_scalar(self) -> None:
        """An instant vector has a sample a series; a scalar is a series without labels."""
        vector = {"resultType": "vector", "result": [{"metric": {}, "value": [1.5, "+Inf"]}]}
        assert series_of(vector) == [Series({}, (Sample(1500, math.inf),))]
        scalar = {"resultType": "scalar", "result": [2, "3"]}
        assert series_of(scalar) == [Series({}, (Sample(2000, 3.0),))]

    def test_targets(self) -> None:
        """Only what a test or a person asks for is kept."""
        entry = {
            "labels": {"job": "triton"},
            "scrapeUrl": "http://t:8002/metrics",
            "health": "down",
            "lastError": "refused",
            "globalUrl": "…",
        }
        expected = Target({"job": "triton"}, "http://t:8002/metrics", "down", "refused")
        assert targets_of({"activeTargets": [entry], "droppedTargets": []}) == [expected]
