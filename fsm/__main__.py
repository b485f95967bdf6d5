"""`python -m fsm`, the same as `hanse fsm`."""

from fsm.cli import commands

if __name__ == "__main__":
    commands()
