"""`python -m dsn`, the same as `hanse dsn`."""

import sys

from shared.cli.main import run

if __name__ == "__main__":
    sys.exit(run(["dsn", *sys.argv[1:]]))
