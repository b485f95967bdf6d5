"""Seeded policies and inventories that every compiler under comparison reads.

Format "fwbench-workload/1", one JSON object:

* format: "fwbench-workload/1"
* seed, parameters: what the generator was asked for; informative
* networks: {name: [CIDR, ...]}, 1-8 canonical prefixes each.  For a system of labels a name is
  one value of one label: network N000017 is what the selector net=N000017 selects at the site.
* services: {name: {"proto": "tcp" | "udp", "ports": [[lo, hi], ...]}}; destination ports,
  inclusive, sorted, disjoint
* rules: [{"name", "src": [network], "dst": [network], "service", "action": "accept" | "deny"}],
  first match wins; a rule matches the union of its sources x the union of its destinations x the
  ports of its service
* shaded: [[i, j], ...]; rule j was made as a subset of the earlier rule i, so an exact search for
  shadows finds at least these pairs

Everything follows from the parameters and the seed: equal arguments give equal bytes.

    python -m tests.bench.workload --networks 1000 --rules 1000 --seed 1 -o w.json
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, TypeAlias

FORMAT = "fwbench-workload/1"

# Prefix length -> weight: mostly hosts and small subnets, as in real inventories.
V4_LENGTHS = {32: 45, 30: 5, 28: 10, 27: 5, 26: 5, 24: 20, 23: 4, 22: 3, 20: 3}
V6_LENGTHS = {128: 45, 64: 45, 56: 7, 48: 3}
# A prefix of each length lies in one of the length before, four side by side; and how many.
NESTED_LENGTHS = {11: 1, 14: 2, 17: 4, 20: 8, 23: 16, 26: 32, 29: 32, 32: 32}

Network: TypeAlias = IPv4Network | IPv6Network
Workload: TypeAlias = dict[str, Any]
"""A document of the format above."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What to generate; shares are between 0 and 1."""

    networks: int = 1000
    rules: int = 1000
    services: int = 200
    v6: float = 0.0
    """Share of IPv6 prefixes."""
    shaded: float = 0.01
    """Share of rules planted under an earlier one."""
    sibling: float = 0.2
    """Share of prefixes that merge with the one before into one CIDR."""
    max_prefixes: int = 8
    max_names: int = 3
    """Names on a side of a rule."""


def generate(parameters: Parameters = Parameters(), *, seed: int = 1) -> Workload:
    """Return the workload that these parameters and this seed stand for."""
    rng = random.Random(seed)
    networks = {f"N{n:06d}": _prefixes(rng, parameters) for n in range(parameters.networks)}
    services = {f"S{n:04d}": _service(rng) for n in range(parameters.services)}
    names, service_names = list(networks), list(services)
    rules: list[dict[str, Any]] = []
    pairs: list[list[int]] = []
    for number in range(parameters.rules):
        if number and rng.random() < parameters.shaded:
            over = rng.randrange(number)
            first = rules[over]
            src = rng.sample(first["src"], rng.randint(1, len(first["src"])))
            dst = rng.sample(first["dst"], rng.randint(1, len(first["dst"])))
            service = first["service"]
            pairs.append([over, number])
        else:
            src = rng.sample(names, min(len(names), rng.randint(1, parameters.max_names)))
            dst = rng.sample(names, min(len(names), rng.randint(1, parameters.max_names)))
            service = rng.choice(service_names)
        rules.append(
            {
                "name": f"r{number:06d}",
                "src": sorted(src),
                "dst": sorted(dst),
                "service": service,
                "action": "accept" if rng.random() < 0.8 else "deny",
            }
        )
    return {
        "format": FORMAT,
        "seed": seed,
        "parameters": asdict(parameters),
        "networks": networks,
        "services": services,
        "rules": rules,
        "shaded": pairs,
    }


def nest(workload: Workload) -> Workload:
    """Return the same rules over other networks, whose prefixes nest eight deep.

    Deep prefixes are more frequent than wide ones, as in real inventories.
    """
    rng = random.Random(workload["seed"])
    most = workload["parameters"]["max_prefixes"]
    networks = {}
    for name in workload["networks"]:
        prefixes = [_nested_prefix(rng) for _ in range(rng.randint(1, most))]
        networks[name] = list(dict.fromkeys(prefixes))
    return {**workload, "networks": networks}


def encode(workload: Workload) -> bytes:
    """Return the bytes of a workload file."""
    return (json.dumps(workload, separators=(",", ":")) + "\n").encode()


def load(path: Path) -> Workload:
    """Read a workload file; ValueError if it is none."""
    workload: Workload = json.loads(path.read_bytes())
    if workload.get("format") != FORMAT:
        raise ValueError(f"{path}: not a {FORMAT} file")
    return workload


def _prefixes(rng: random.Random, parameters: Parameters) -> list[str]:
    chosen: list[Network] = []
    for _ in range(rng.randint(1, parameters.max_prefixes)):
        if chosen and rng.random() < parameters.sibling:
            prefix = _sibling(chosen[-1])
        else:
            prefix = _prefix(rng, six=rng.random() < parameters.v6)
        if prefix not in chosen:
            chosen.append(prefix)
    return [str(prefix) for prefix in chosen]


def _prefix(rng: random.Random, *, six: bool) -> Network:
    """Return one canonical prefix inside 10.0.0.0/8 or fd00::/8."""
    base, width, table = (0xFD << 120, 128, V6_LENGTHS) if six else (10 << 24, 32, V4_LENGTHS)
    length = rng.choices(list(table), list(table.values()))[0]
    bits = rng.getrandbits(length - 8) << (width - length)
    return IPv6Network((base | bits, length)) if six else IPv4Network((base | bits, length))


def _nested_prefix(rng: random.Random) -> str:
    length = rng.choices(list(NESTED_LENGTHS), list(NESTED_LENGTHS.values()))[0]
    address = 10 << 24
    for end in NESTED_LENGTHS:
        if end <= length:
            address |= rng.getrandbits(2) << (32 - end)
    return str(IPv4Network((address, length)))


def _sibling(prefix: Network) -> Network:
    """Return the other half of the parent, which merges with `prefix` into one CIDR."""
    flip = 1 << (prefix.max_prefixlen - prefix.prefixlen)
    return type(prefix)((int(prefix.network_address) ^ flip, prefix.prefixlen))


def _service(rng: random.Random) -> dict[str, Any]:
    kind = rng.random()
    if kind < 0.7:
        port = rng.randint(1, 65535)
        ports = [[port, port]]
    elif kind < 0.9:
        low = rng.randint(1, 65000)
        ports = [[low, min(65535, low + rng.choice([9, 99, 499]))]]
    else:
        ports = [[port, port] for port in sorted(rng.sample(range(1, 65535, 2), 3))]
    return {"proto": rng.choice(["tcp", "tcp", "udp"]), "ports": ports}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a seeded workload.")
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--rules", type=int, default=1000)
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--v6", type=float, default=0.0, help="share of IPv6 prefixes")
    parser.add_argument("--shaded", type=float, default=0.01, help="share of planted shadows")
    parser.add_argument("-o", "--output", type=Path, help="file to write, default stdout")
    options = parser.parse_args(arguments)
    parameters = Parameters(
        networks=options.networks,
        rules=options.rules,
        services=options.services,
        v6=options.v6,
        shaded=options.shaded,
    )
    text = encode(generate(parameters, seed=options.seed))
    if options.output:
        options.output.write_bytes(text)
    else:
        sys.stdout.buffer.write(text)


if __name__ == "__main__":
    main()
