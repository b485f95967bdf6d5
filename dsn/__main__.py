"""`python -m dsn` is `hanse dsn`."""

from dsn.cli import commands

commands(prog_name="hanse dsn")
