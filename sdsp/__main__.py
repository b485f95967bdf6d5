"""`python -m sdsp`, the same as `hanse sdsp`."""

from sdsp.cli import commands

if __name__ == "__main__":
    commands()
