"""`python -m fsm`, the same as `hanse fsm`."""

import sys

from shared.cli.main import run

if __name__ == "__main__":
    sys.exit(run(["fsm", *sys.argv[1:]]))
