"""The parts know of each other what the design says, and nothing else."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "receiver"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "wire" not in path.parts)
NAMES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in MODULES}
CALLED_PURE = [
    name
    for name, path in NAMES.items()
    if re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
]
ITSELF_ALONE = {
    "cli.help_text", "cli.prometheus.intervals",  # a default names the host; a value of the room's
    "status.diagnosis", "status.document", "status.outlook",  # the types of what they describe
    "sandbox.contract",  # its package is the server
}  # fmt: skip
"""Modules called pure that reach others which are not: their own imports are looked at."""
PURE = sorted(
    {
        "errors", "triton", "azure.redirect", "azure.verdict", "azure.answer", "azure.rejections", "azure.envelope", "azure.connection_string",
        "delivery.service_clock", "server.admission", "server.web_config",
        *CALLED_PURE,
        *(name for name, path in NAMES.items() if name.startswith("intake.") and path.stem != "__init__"),
    }
    - ITSELF_ALONE
)  # fmt: skip
"""Modules called pure, all of intake, and some more."""
IMPURE = {"aiohttp", "asyncio", "sqlite3", "socket", "structlog", "subprocess", "time"}


@cache
def imported(path: Path) -> set[str]:
    """List the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def reached(name: str) -> set[str]:
    """List what a module of ours imports, itself or through others of ours and the packages they are in."""
    seen: set[str] = set()
    waiting = [f"receiver.{name}"]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        place = ROOT / Path(*module.split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module.startswith("receiver.") and path.exists() and "wire" not in path.parts:
            waiting += [*imported(path), module.rpartition(".")[0]]
    return seen


def test_no_module_is_in_a_cycle() -> None:
    """Not even of imports for types alone: each can be read before those that use it."""
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    left = {name: imported(path) & names.keys() - {name} for name, path in names.items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"these import each other, or what does: {sorted(left)}"


def test_the_contracts_of_import_linter_hold() -> None:
    """Data flows one way; the pure stages open nothing; the sandbox does not know the sender."""
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(lint), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


@pytest.mark.parametrize("name", CALLED_PURE)
def test_a_module_that_is_called_pure_imports_no_clock_and_nothing_that_opens(name: str) -> None:
    """By its own imports."""
    assert {module.split(".")[0] for module in imported(NAMES[name])} & (
        IMPURE | {"threading"}
    ) == set()


def test_the_exceptions_are_few_and_needed() -> None:
    """Each is a module that is called pure, and reaches one that is not."""
    for name in ITSELF_ALONE:
        assert name in CALLED_PURE
        assert {module.split(".")[0] for module in reached(name)} & IMPURE


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_opens_nothing_and_has_no_clock(name: str) -> None:
    """Neither itself nor through another module of ours."""
    tops = {module.split(".")[0] for module in reached(name)}

    assert tops & IMPURE == set()


def test_the_pure_modules_load_without_server_or_database() -> None:
    """What the imports say is what happens: they can be used where neither is installed."""
    code = (
        "import sys, importlib\n"
        f"[importlib.import_module('receiver.' + name) for name in {PURE!r}]\n"
        "print(*sorted({'aiohttp', 'asyncio', 'sqlite3', 'structlog'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path: Path) -> None:
    """In its first lines."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_no_module_hides_a_name_of_the_standard_library() -> None:
    """Nor is called after nothing in particular."""
    names = {path.stem for path in MODULES} - {"__init__", "__main__"}

    assert (
        names & (set(sys.stdlib_module_names) | {"utils", "helpers", "manager", "data", "info"})
        == set()
    )
