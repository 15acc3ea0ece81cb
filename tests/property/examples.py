"""How many examples a test looks at: a quarter of them under `make test-quick`, all otherwise."""

import os

IS_QUICK = os.environ.get("HYPOTHESIS_PROFILE") == "quick"


def examples(count: int) -> int:
    """Say how many, where `make test` looks at `count`."""
    return max(5, count // 4) if IS_QUICK else count
