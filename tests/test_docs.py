"""Documentation is a test: what an operator may meet is written down."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from receiver import errors, share
from receiver.azure.policy import Action
from receiver.azure.rejections import REJECT_REASONS
from receiver.cli.verbs import VERBS, Verb
from receiver.config.settings import SETTINGS, Setting
from receiver.errors import WRITE_PATH
from receiver.intake import decode
from receiver.intake.pipeline import DROP_REASONS
from receiver.intake.recogniser import WITHOUT_KERNEL
from receiver.status import runbook
from receiver.status.metrics import METRICS as SELF_METRICS
from receiver.status.metrics import SelfMetric
from receiver.status.verdicts import State, anchor
from receiver.triton import METRICS, Metric

ROOT = Path(__file__).parent.parent
MARKDOWN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def text_of(*pages: str) -> str:
    """Read pages."""
    return "\n".join((ROOT / page).read_text(encoding="utf-8") for page in pages)


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
WAITS = sorted(
    action.value for action in set(Action) - {Action.SETTLE, Action.UNCONFIRMED, Action.SPLIT}
)
"""The actions after which delivery waits; the others settle or divide a batch at once."""
ROUTES = [WRITE_PATH, "/api/v1/status", "/metrics", "/-/healthy", "/-/ready"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting: Setting) -> None:
    """Its variable, its flag, its default and its meaning, in one row."""
    pattern = rf"(?m)^\| `{re.escape(setting.environment)}` \|(.*)\|(.*)\|(.*)\|$"
    [(flag, default, meaning)] = re.findall(pattern, text_of("docs/settings.md"))

    assert flag.strip(" `") == (setting.flag or "")
    assert default.strip(" `") == setting.default
    assert meaning.strip()


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


@pytest.mark.parametrize("state", ["open", *WAITS, "full", "held"])
def test_every_state_of_delivery_is_documented(state: str) -> None:
    """`delivery.state` and a route's `state`."""
    assert f"`{state}`" in text_of("docs/http-api.md")


@pytest.mark.parametrize("page", ["README.md", "docs/install.md", "docs/metrics.md", "hatch_build.py", "receiver/status/page.html"])  # fmt: skip
def test_the_cost_without_the_kernel_is_one_figure(page: str) -> None:
    """The message at start, in `check` and in the log has it too."""
    [times] = re.findall(r"some (\w+ times the CPU)", WITHOUT_KERNEL)
    assert times in text_of(page)


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


def anchors_of(page: Path) -> list[str]:
    """Spell a page's headings as GitHub does: punctuation goes, a repeated one gets a number."""
    anchors: list[str] = []
    headings = re.findall(r"(?m)^#+ +(.+?) *#*$", without_code(page.read_text(encoding="utf-8"), inline=False))  # fmt: skip
    for heading in headings:
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-")
        taken = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in anchors)  # fmt: skip
        anchors.append(f"{slug}-{taken}" if taken else slug)
    return anchors


def without_code(markdown: str, *, inline: bool = True) -> str:
    """Take fenced code out of a page, and inline code."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", markdown)
    return re.sub(r"`[^`\n]*`", "", text) if inline else text


def dead(page: Path, link: str) -> bool:
    """Whether a link of a page leads to no file, or to no heading of it."""
    path, _, slug = link.partition("#")
    target = page.parent / path if path else page
    return not target.exists() or bool(slug and slug not in anchors_of(target))


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that is there, and a heading that is in it."""
    text = without_code(page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    assert [link for link in links if not re.match(r"https?:|mailto:", link) and dead(page, link)] == []  # fmt: skip


@pytest.mark.parametrize(
    ("link", "is_dead"),
    [("README.md", False), ("README.md#documentation-0", True), ("none.md", True), ("docs/runbook.md#route-full", False),
     ("docs/entra.md#aks-workload-identity", False), ("docs/runbook.md#route_full", True), ("#none", True)],
)  # fmt: skip
def test_a_dead_link_is_seen(link: str, *, is_dead: bool) -> None:
    """The check can fail."""
    assert dead(ROOT / "README.md", link) is is_dead


def test_repeated_headings_are_numbered(tmp_path: Path) -> None:
    """As on GitHub; a comment in code is no heading."""
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b` c: d\n\n## x_y\n\n```sh\n# no heading\n```\n\n## x_y\n\n## [L](l.md) & é\n"
    )
    assert anchors_of(page) == ["a-b-c-d", "x_y", "x_y-1", "l--é"]


SPOKEN = [
    path
    for folder in ("receiver", "prometheus", "deploy", "container", "demo", "docs", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".html", ".json", ".md", ".sh", ".yaml", ".yml", ".service", ".tpl", ".txt"}
]  # fmt: skip
"""Files with texts that people read: messages, hints, alerts, manifests, pages."""


def test_texts_name_pages_that_are_there() -> None:
    """Messages, comments and alerts: docs/PAGE.md, with a heading or without, and /runbook#HEADING."""
    foreign = {"docs/web-configuration.md"}  # of prometheus/exporter-toolkit
    named = set()
    for path in SPOKEN:
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"(?<![\w/.-])docs/[\w-]+\.md(?:#[\w-]+)?", text)) - foreign
        named |= {f"docs/runbook.md#{slug}" for slug in re.findall(r"/runbook#([\w-]+)", text)}
    assert len(named) > 40
    assert sorted(name for name in named if dead(ROOT / "README.md", name)) == []


def test_the_served_runbook_has_the_same_anchors() -> None:
    """A link works on GitHub and at /runbook; every verdict has its own."""
    ids = re.findall(r'id="([^"]+)"', runbook.to_html(share.read("runbook.md")))
    assert ids == anchors_of(ROOT / "docs/runbook.md")
    assert {anchor(state) for state in State} <= set(ids)


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


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_a_developer_is_sent_to_are_there(page: str) -> None:
    """By their path, or by their name alone where the room is named before."""
    named = re.findall(r"`([a-z0-9_/.]+\.(?:py|json|html|h|c))`", text_of(page))
    assert len(named) > 15
    paths = [str(path.relative_to(ROOT)) for path in (ROOT / "receiver").rglob("*")]
    assert [
        name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in paths)
    ] == []


def test_tests_that_a_page_names_are_there() -> None:
    """The threat model is only as good as its last column: files, folders and single tests."""
    text = text_of(*(str(page.relative_to(ROOT)) for page in MARKDOWN))
    paths = set(re.findall(r"(?<![\w/])tests/[a-z0-9_/-]+(?:\.[a-z]+)?", text))
    assert len(paths) > 20
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    single = set(re.findall(r"`(test_\w+)`", text))
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in single if f"def {name}(" not in code) == []


def test_ci_runs_the_commands_that_contributing_names() -> None:
    """All of them, and no other; each is a target of the Makefile."""
    [sentence] = re.findall(r"(?m)^CI \(`\.ci/run`\) runs (.*)$", text_of("CONTRIBUTING.md"))
    run = re.findall(r"(?m)^make ([\w-]+)", text_of(".ci/run"))
    assert re.findall(r"`make ([\w-]+)`", sentence) == run
    assert set(run) <= set(re.findall(r"(?m)^([\w-]+):", text_of("Makefile")))
