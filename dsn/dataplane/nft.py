"""Run `nft`, in a process of its own: a parser of root's input is kept out of the agent.

These calls block; the data plane makes them in a thread of its own, and the process runs in that
thread's network namespace.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Final

import orjson

from dsn.dataplane.contract import NoDataPlane, Refused

# Programs of root's are not on everybody's path.
_PATH: Final = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

_DETAIL: Final = 2000
_ABSENT: Final = "Error: No such file or directory"
_NO_ACCESS: Final = "Operation not permitted"


class Nft:
    """Loads batches and lists tables of the calling thread's network namespace."""

    def __init__(self, *, timeout: float) -> None:
        """A run that takes longer than `timeout` seconds is killed."""
        self._timeout = timeout

    def load(self, commands: Sequence[dict[str, Any]]) -> None:
        """Run a batch as one transaction.

        Refused, if nft or the kernel doesn't take it; NoDataPlane, if it may not be asked.
        """
        status, _, errors = self._run("-f", "-", given=orjson.dumps({"nftables": list(commands)}))
        if status != 0 and _NO_ACCESS in errors:
            raise NoDataPlane("nft may not write rules here; run as root", detail=errors)
        if status != 0:
            raise Refused(
                "nft did not take the rules; those before are still enforced", detail=errors
            )

    def list_table(self, name: str) -> list[dict[str, Any]] | None:
        """Return the objects of a table as nft lists them, None if there is no such table."""
        return self._list("-n", "list", "table", "inet", name)

    def _list(self, *arguments: str) -> list[dict[str, Any]] | None:
        status, output, errors = self._run(*arguments)
        if status == 0:
            objects: list[dict[str, Any]] = orjson.loads(output)["nftables"]
            return objects
        if _ABSENT in errors:
            return None
        raise NoDataPlane("nft can't list what is enforced", detail=errors)

    def _run(self, *arguments: str, given: bytes | None = None) -> tuple[int, bytes, str]:
        program = shutil.which("nft", path=_PATH)
        if program is None:
            raise NoDataPlane("there is no program nft; install nftables")
        try:
            done = subprocess.run(  # noqa: S603 - our own words; what people wrote goes in as data
                [program, "-j", *arguments],
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Refused(f"nft took longer than {self._timeout:g} s and was stopped") from None
        except OSError as exc:
            raise NoDataPlane(f"nft can't be run: {exc.strerror}") from exc
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")[:_DETAIL]
