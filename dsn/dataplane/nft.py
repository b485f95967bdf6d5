"""Run `nft`, in a process of its own: a parser of root's input is kept out of the agent."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from typing import Any, Final

import orjson

from dsn.dataplane.contract import NoDataPlane, Refused

# Programs of root's are not on everybody's path.
_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

_DETAIL: Final = 2000
_ABSENT: Final = "Error: No such file or directory"
_NO_ACCESS: Final = ("Operation not permitted", "Cannot open network namespace")


class Nft:
    """Loads batches and lists tables, inside a named network namespace if one is given."""

    def __init__(self, *, namespace: str | None, timeout: float) -> None:
        """A run that takes longer than `timeout` seconds is killed and counts as refused."""
        self._command = ["ip", "netns", "exec", namespace] if namespace else []
        self._timeout = timeout

    async def load(self, commands: Sequence[dict[str, Any]]) -> None:
        """Run a batch as one transaction.  Refused, if nft or the kernel doesn't take it."""
        status, _, errors = await self._run(
            "-f", "-", stdin=orjson.dumps({"nftables": list(commands)})
        )
        if status != 0 and any(each in errors for each in _NO_ACCESS):
            raise NoDataPlane("nft may not write rules here; run as root", detail=errors)
        if status != 0:
            raise Refused(
                "nft did not take the rules; those before are still enforced", detail=errors
            )

    async def list_table(self, name: str) -> list[dict[str, Any]] | None:
        """Return the objects of a table as nft lists them, None if there is no such table."""
        status, output, errors = await self._run("-n", "list", "table", "inet", name)
        if status == 0:
            objects: list[dict[str, Any]] = orjson.loads(output)["nftables"]
            return objects
        if _ABSENT in errors:
            return None
        raise NoDataPlane("nft can't list what is enforced", detail=errors)

    async def list_counters(self, table: str) -> list[dict[str, Any]]:
        """Return the counters of a table, none if there is no such table."""
        status, output, errors = await self._run("list", "counters", "table", "inet", table)
        if status == 0:
            objects: list[dict[str, Any]] = orjson.loads(output)["nftables"]
            return [each["counter"] for each in objects if "counter" in each]
        if _ABSENT in errors:
            return []
        raise NoDataPlane("nft can't list the counters", detail=errors)

    async def list_set(self, table: str, name: str) -> list[Any]:
        """Return the elements of a set, none if there is no such set."""
        status, output, errors = await self._run("-n", "list", "set", "inet", table, name)
        if status == 0:
            objects: list[dict[str, Any]] = orjson.loads(output)["nftables"]
            return [
                element
                for each in objects
                if "set" in each
                for element in each["set"].get("elem", ())
            ]
        if _ABSENT in errors:
            return []
        raise NoDataPlane("nft can't list what it remembers", detail=errors)

    async def _run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
        command = [*self._command, "nft", "-j", *arguments]
        found = shutil.which(command[0], path=_PATH)
        if found is None:
            raise NoDataPlane(f"there is no program {command[0]!r}; install nftables and iproute2")
        process = await asyncio.create_subprocess_exec(
            found,
            *command[1:],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self._timeout):
                output, errors = await process.communicate(stdin)
        except TimeoutError:
            raise Refused(f"nft took longer than {self._timeout:g} s and was stopped") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output, errors.decode(errors="replace")[:_DETAIL]
