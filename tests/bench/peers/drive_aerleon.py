"""Compile a workload with Aerleon by its API, in this process, and print figures as one JSON line.

    .venv-bench/bin/python drive_aerleon.py WORKLOAD [--target nftables] [--optimize] [--shade]

Runs in the peers' environment and imports nothing of ours.  A process compiles once, so that the
peak memory is that run's own and no cache carries over.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

# What stands after the target's name in a header of Aerleon's.
HEADERS = {"nftables": "{family} output ACCEPT noverbose", "cisco": "bench extended"}


def to_aerleon(workload: dict[str, Any], target: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return definitions and policy in the form that Aerleon's API takes."""
    networks = {
        name: {"values": [{"address": prefix} for prefix in prefixes]}
        for name, prefixes in workload["networks"].items()
    }
    services = {
        name: [
            {"protocol": each["proto"], "port": str(low) if low == high else f"{low}-{high}"}
            for low, high in each["ports"]
        ]
        for name, each in workload["services"].items()
    }
    terms = [
        {
            "name": rule["name"],
            "source-address": " ".join(rule["src"]),
            "destination-address": " ".join(rule["dst"]),
            "protocol": workload["services"][rule["service"]]["proto"],
            "destination-port": rule["service"],
            "action": rule["action"],
        }
        for rule in workload["rules"]
    ]
    family = "mixed" if workload["parameters"].get("v6") else "inet"
    header = {"targets": {target: HEADERS[target].format(family=family)}}
    policy = {"filename": "bench", "filters": [{"header": header, "terms": terms}]}
    return {"networks": networks, "services": services}, policy


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile a workload with Aerleon.")
    parser.add_argument("workload", type=Path)
    parser.add_argument("--target", choices=HEADERS, default="nftables")
    parser.add_argument("--optimize", action="store_true")
    parser.add_argument("--shade", action="store_true", help="with Aerleon's check for shadows")
    parser.add_argument("--keep", type=Path, help="write the configuration there")
    options = parser.parse_args()

    from absl import logging as absl_logging

    # Shadows are reported as warnings.
    absl_logging.set_verbosity(absl_logging.ERROR)
    from aerleon import api
    from aerleon.lib import naming, plugin_supervisor

    # Imports the generators; imports are not measured.
    plugin_supervisor.PluginSupervisor.Start()
    definitions, policy = to_aerleon(json.loads(options.workload.read_bytes()), options.target)
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    names = naming.Naming()
    names.ParseDefinitionsObject(definitions, "")
    defined = time.perf_counter()
    written = api.Generate([policy], names, shade_check=options.shade, optimize=options.optimize)
    end = time.perf_counter()
    text = "".join(written.values())
    if options.keep:
        options.keep.write_text(text)
    figures = {
        "definitions_s": defined - start,
        "generate_s": end - defined,
        "total_s": end - start,
        "cpu_s": time.process_time() - cpu,
        "output_bytes": len(text.encode()),
        "output_lines": text.count("\n"),
        "baseline_rss_mib": baseline / 1024,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
