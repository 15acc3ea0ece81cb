"""What every test leaves behind: nothing."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test set up for logging: it would write to a file that pytest has closed."""
    yield
    structlog.reset_defaults()
