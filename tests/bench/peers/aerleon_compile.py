"""Aerleon as a peer: the same workload, compiled in a fresh process of its own environment."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from tests.bench.harness import PEER_PYTHON, PeerPackage

NEED: Final = PeerPackage("aerleon")
NAME: Final = "Aerleon 1.18"
DRIVER: Final = Path(__file__).with_name("drive_aerleon.py")


@dataclass(frozen=True, slots=True)
class AerleonRun:
    """Seconds are wall time after imports and reading; memory is that of the whole process."""

    definitions_s: float
    generate_s: float
    total_s: float
    cpu_s: float
    output_bytes: int
    output_lines: int
    baseline_rss_mib: float
    """Peak before compiling: interpreter, imports and the workload."""
    peak_rss_mib: float


def compile_with_aerleon(
    workload: Path,
    *,
    target: str = "nftables",
    optimize: bool = True,
    shade: bool = False,
    keep: Path | None = None,
    limit: float = 300.0,
) -> AerleonRun:
    """Compile a workload file once; subprocess.TimeoutExpired after `limit` seconds."""
    command = [str(PEER_PYTHON), str(DRIVER), str(workload), "--target", target]
    command += ["--optimize"] * optimize + ["--shade"] * shade
    command += ["--keep", str(keep)] if keep else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=limit)
    return AerleonRun(**orjson.loads(done.stdout.splitlines()[-1]))
