"""`python -m receiver` is the same as `appinsights-receiver`."""

import sys

from receiver.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
