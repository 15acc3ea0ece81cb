"""Documentation is a test: what an operator may meet is written down."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from receiver import errors
from receiver.azure.policy import Action
from receiver.azure.rejections import REJECT_REASONS
from receiver.cli.verbs import VERBS, Verb
from receiver.config.settings import SETTINGS, Setting
from receiver.intake import decode
from receiver.intake.pipeline import DROP_REASONS
from receiver.server.app import WRITE_PATH
from receiver.status.metrics import METRICS as SELF_METRICS
from receiver.status.metrics import SelfMetric
from receiver.triton import METRICS, Metric

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/settings.md", "docs/metrics.md", "docs/http-api.md"]


def text_of(*pages: str) -> str:
    """Read pages, those that are there."""
    paths = (ROOT / page for page in pages)
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if path.exists())


def is_named(name: str, text: str) -> bool:
    """Whether a page has a name as a word of its own, not as a part of another."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None


def refusals(kind: type[errors.RequestRefused]) -> list[type[errors.RequestRefused]]:
    """List the ways in which a request is refused, from the tree of errors."""
    found = []
    for each in kind.__subclasses__():
        found += [each, *refusals(each)]
    return found


REFUSALS = refusals(errors.RequestRefused)
STATUSES = sorted({each.status for each in REFUSALS} | {204, 405})
ROUTES = [WRITE_PATH, "/api/v1/status", "/metrics", "/-/healthy", "/-/ready"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting: Setting) -> None:
    """Its variable, its flag, its default."""
    text = text_of("README.md", "docs/settings.md")

    assert is_named(setting.environment, text)
    assert not setting.flag or is_named(setting.flag, text)
    assert not setting.default or setting.default in text


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_is_documented(verb: Verb) -> None:
    """In README by its name, in docs/cli.md with each of its flags."""
    assert f"`{verb.name}`" in text_of("README.md")
    page = text_of("docs/cli.md")
    assert f"\n## {verb.name}\n" in page
    assert [flag.name for flag in verb.flags if not is_named(flag.name, page)] == []


@pytest.mark.parametrize("metric", SELF_METRICS, ids=lambda metric: metric.name)
def test_every_metric_of_our_own_is_documented(metric: SelfMetric) -> None:
    """With what it means."""
    text = text_of("docs/metrics.md")

    assert is_named(metric.name, text)
    assert metric.meaning in text


@pytest.mark.parametrize("reason", [*DROP_REASONS, *REJECT_REASONS])
def test_every_reason_of_a_lost_sample_is_documented(reason: str) -> None:
    """As it stands in the metric's label."""
    assert f"`{reason}`" in text_of("docs/metrics.md")


@pytest.mark.parametrize("kind", REFUSALS, ids=lambda kind: kind.reason)
def test_every_refusal_is_documented(kind: type[errors.RequestRefused]) -> None:
    """Its reason and its status."""
    text = text_of("docs/http-api.md", "docs/metrics.md")

    assert f"`{kind.reason}`" in text
    assert is_named(str(kind.status), text)


@pytest.mark.parametrize("reason", decode.INVALID_REASONS)
def test_every_refusal_of_a_series_is_documented(reason: str) -> None:
    """As it stands in the answer."""
    assert f"`{reason}`" in text_of("docs/http-api.md", "docs/metrics.md")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_every_metric_of_triton_is_in_readme(metric: Metric) -> None:
    """So that users can choose."""
    assert is_named(metric.name, text_of("README.md"))


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_is_documented(route: str) -> None:
    """The whole HTTP interface."""
    assert route in text_of("docs/http-api.md")


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_documented(status: int) -> None:
    """What it means to a sender."""
    assert is_named(str(status), text_of("docs/http-api.md"))


@pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
def test_every_state_of_delivery_is_documented(action: Action) -> None:
    """Those that the status page can show."""
    shown = {Action.RETRY, Action.THROTTLE, Action.QUOTA, Action.BLOCKED}

    assert action not in shown or is_named(
        action.value, text_of("docs/http-api.md", "docs/delivery.md")
    )


def test_what_is_generated_is_fresh() -> None:
    """`make docs` would change nothing."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_picture_of_imports_is_fresh() -> None:
    """It shows the code as it is, and no room imports one above it."""
    from docs.imports import PICTURE, draw

    assert PICTURE.read_text() == draw()
    assert "#c0392b" not in draw(), "a red dot is an import upwards"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of a page names a file that is there."""
    path = ROOT / page
    text = text_of(page)
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)

    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_page_on_architecture_names_every_room() -> None:
    """And no room that is not there."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        path.name
        for path in (ROOT / "receiver").iterdir()
        if path.is_dir() and any(path.glob("*.[pc]*")) and path.name != "__pycache__"
    } | {"service"}
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert set(listed) == rooms
