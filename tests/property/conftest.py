"""How long hypothesis looks: a few seconds in all; in CI always at the same examples.

`make test-quick` has the profile "quick"; tests with a number of their own ask
`tests.property.examples`.
"""

import os

from hypothesis import settings

settings.register_profile("developer", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, database=None)
settings.register_profile("quick", max_examples=15, deadline=None)
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE")
    or ("ci" if os.environ.get("CI") == "true" else "developer")
)
