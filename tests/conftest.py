"""What holds for every test: what it leaves behind (nothing), and beside which others it runs."""

from collections.abc import Generator, Iterator

import pytest
import structlog

TOGETHER = ("tests/e2e/", "tests/prometheus/", "tests/test_package.py")
"""Files whose tests share something that is slow to make: each file's run in one process."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None]:
    """Keep the tests of such a file together where the suite runs in several processes.

    They come first, whatever the order of the others: what takes minutes must not begin last. A
    wrapper comes before all others: xdist's own hook reads the mark.
    """
    for item in items:
        file = item.nodeid.partition("::")[0]
        if file.startswith(TOGETHER):
            item.add_marker(pytest.mark.xdist_group(file))
    result = yield
    items.sort(key=lambda item: not item.nodeid.startswith(TOGETHER))
    return result


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test set up for logging: it would write to a file that pytest has closed."""
    yield
    structlog.reset_defaults()
