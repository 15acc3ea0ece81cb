"""What is installed is pinned to the byte."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEVELOP = [Requirement(text) for text in PROJECT["dependency-groups"]["dev"]]
LOCKS = {
    "requirements-receiver.lock": RUN,
    "requirements-dev.lock": RUN + DEVELOP,
}


def entries(lock: str) -> dict[str, list[tuple[Requirement, list[str]]]]:
    """Read a lock file: by name, what is pinned and the hashes beside it."""
    found: dict[str, list[tuple[Requirement, list[str]]]] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.strip() and not line.strip().startswith("#"):
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            pinned = Requirement(requirement)
            found.setdefault(canonicalize_name(pinned.name), []).append((pinned, hashes))
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_in_a_lock_is_pinned_with_hashes(lock: str) -> None:
    """One version, and a digest for each file of it."""
    for name, pins in entries(lock).items():
        for pinned, hashes in pins:
            assert [each.operator for each in pinned.specifier] == ["=="], name
            assert hashes, name
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name


@pytest.mark.parametrize("lock", LOCKS)
def test_every_dependency_is_in_the_lock_at_a_version_that_it_allows(lock: str) -> None:
    """A dependency added and not locked, or locked and then bounded otherwise, is found here."""
    locked = entries(lock)
    for wanted in LOCKS[lock]:
        pins = locked[canonicalize_name(wanted.name)]
        for pinned, _ in pins:
            [version] = [each.version for each in pinned.specifier]
            assert wanted.specifier.contains(version, prereleases=True), f"{wanted}: {version}"


def test_both_locks_agree() -> None:
    """What is tested is what is shipped."""
    develop = entries("requirements-dev.lock")
    for name, pins in entries("requirements-receiver.lock").items():
        assert {str(pinned.specifier) for pinned, _ in pins} == {
            str(pinned.specifier) for pinned, _ in develop[name]
        }


def test_what_is_shipped_is_bounded() -> None:
    """A next major version, unseen, does not break an installation from the index."""
    for wanted in RUN:
        operators = {each.operator for each in wanted.specifier}
        assert operators & {"<", "~=", "=="}, str(wanted)
        assert operators & {">=", "~=", "=="}, str(wanted)
