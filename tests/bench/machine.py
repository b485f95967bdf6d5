"""What a figure was measured on, and whether anything else was running there."""

import os
import platform
import sqlite3
import ssl
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = (
    "aiohttp",
    "aiosqlite",
    "numpy",
    "orjson",
    "pydantic",
    "pydantic-core",
    "SQLAlchemy",
    "uvloop",
)
# A load average above this, for each core, is somebody else's work; a guess.
QUIET_LOAD = 0.25


def machine() -> dict[str, Any]:
    """Return JSON values: CPU, cores, memory in MiB, kernel, versions, load averages."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": sqlite3.sqlite_version,
        "versions": {name: version(name) for name in PACKAGES},
        "load_before": [round(each, 2) for each in os.getloadavg()],
    }


def unrest(described: dict[str, Any]) -> str | None:
    """Return why figures from this machine are doubtful now; None if it is quiet."""
    load, cores = described["load_before"][0], described["cores"]
    if load <= QUIET_LOAD * cores:
        return None
    return f"load average {load} on {cores} cores: something else is running, figures are doubtful"


def filesystem_of(folder: Path) -> str:
    """Return the type of the file system that holds `folder`, such as ext4 or tmpfs."""
    place = folder.resolve()
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, mounted_kind, *_ = line.split()
        inside = place.is_relative_to(mount.replace("\\040", " "))
        if inside and len(mount) >= len(best):
            best, kind = mount, mounted_kind
    return kind


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
