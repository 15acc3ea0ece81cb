"""`python -m receiver.workers`: what the front starts, and nobody else."""

import sys

from receiver.workers.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
