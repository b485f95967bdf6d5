"""`python -m tests.chaos`: kill, cut and stall a real federation, and see that nothing is lost.

Needs root, nft and network namespaces.  The same seed draws the same kills, cuts and writes; when
each meets the other is the machine's, so a seed that failed may need several repetitions.
"""

import argparse
import asyncio
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from shared.cli.demo.namespaces import are_possible
from tests.chaos.federation import Federation
from tests.chaos.network import Network, places
from tests.chaos.programs import Wrong
from tests.chaos.run import Report, Run, Wishes

OK, FAILED, INVALID = 0, 1, 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200, help="kill -9 at random")
    parser.add_argument("--failpoints", type=int, help="so many drawn by the seed; default: all")
    parser.add_argument("--only", default="*", help="failpoints of such names: 'sdsp.*'")
    parser.add_argument("--cuts", type=int, default=10, help="of wires, one way or both")
    parser.add_argument("--stalls", type=int, default=5, help="SIGSTOP for a while")
    parser.add_argument("--silences", type=int, default=2, help="cuts until both ends notice")
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=1, help="of each site")
    parser.add_argument("--writers", type=int, default=2, help="at each server")
    parser.add_argument("--pause", type=float, default=0.03, help="of a writer, at most")
    parser.add_argument("--minutes", type=float, help="then nothing more is begun")
    parser.add_argument("--folder", type=Path, help="keep everything here")
    return parser.parse_args()


async def _run(network: Network, wishes: Wishes, folder: Path) -> Report:
    federation = Federation(network, folder)
    try:
        await federation.begin()
        run = Run(federation, wishes, folder=folder, say=_say)
        return await run.run()
    finally:
        await federation.close()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _again(given: argparse.Namespace) -> str:
    named = {name: value for name, value in vars(given).items() if value is not None}
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    return f"  .venv/bin/python -m tests.chaos {shlex.join(words)}"


def main() -> int:
    given = _arguments()
    if not are_possible():
        _say("this needs root, ip, nft and sysctl")
        return INVALID
    wishes = Wishes(
        seed=given.seed,
        kills=given.kills,
        cuts=given.cuts,
        stalls=given.stalls,
        silences=given.silences,
        failpoints=given.failpoints,
        only=given.only,
        writers=given.writers,
        pause=given.pause,
        minutes=given.minutes,
    )
    folder = given.folder or Path(tempfile.mkdtemp(prefix="hanse-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    network = Network(places(given.sites, given.nodes))
    status = FAILED
    try:
        asyncio.run(network.build())
        network.enter()
        report = asyncio.run(_run(network, wishes, folder))
        _say(*report.lines())
        if not report.faults:
            status = OK if report.is_valid else INVALID
        if status == INVALID:
            _say("INVALID: too little was carried for this to prove anything")
    except Wrong as exc:
        _say(f"WRONG: {exc}")
    finally:
        asyncio.run(network.remove())
        if status == FAILED:
            _say(f"seed {given.seed} failed; everything is in {folder}; repeat it with:")
            _say(_again(given))
        elif given.folder is None:
            shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
