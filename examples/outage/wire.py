# ruff: noqa: INP001 - a script, in no package
"""A line that can be cut: python wire.py PORT TARGET passes a local port on until it is ended."""

import asyncio
import sys

from shared.cli.demo.relay import Relay


async def main(port: int, target: int) -> None:
    wire = Relay(target, port=port)
    await wire.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
