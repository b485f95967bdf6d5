"""Balancers as a node gets them: virtual addresses, and the backends behind each port.

A node that runs the service `loadBalancer` translates the connections that its own workloads open
to a virtual address: the destination becomes a backend before any rule looks at the packet.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Literal

from shared.errors import Invalid
from shared.policy.nodehash import MODULUS, text_term

Algorithm = Literal["hash", "random"]
ALGORITHMS: Final[tuple[Algorithm, ...]] = ("hash", "random")

FIREWALL: Final = "firewall"
"""The service that every admitted node runs."""

SERVICE: Final = "loadBalancer"
"""The service's name, as Nodes declare it and a ServicePolicy lists it."""

Changes = Mapping[str, Any]

_FIELDS: Final = frozenset(
    {
        *("id", "tenant", "name", "address", "protocol", "ports", "target"),
        *("algorithm", "backends"),
    }
)


@dataclass(frozen=True, slots=True)
class NodeBalancer:
    """One port, or range of ports, of a virtual address.

    `backends` are addresses of the same family, in address order; `target` is their port, None the
    one that was asked.  `id` (16 hex digits) identifies the address and ports, across generations.
    """

    id: str
    tenant: str
    name: str
    address: str
    protocol: int
    ports: tuple[int, int]
    target: int | None = None
    algorithm: Algorithm = "hash"
    backends: tuple[str, ...] = ()

    @property
    def enforced(self) -> str:
        """What of it a data plane enforces and can be asked back for, but for the backends."""
        first, last = self.ports
        return (
            f"{self.id} {self.address} {self.protocol} {first}-{last} {self.target} "
            f"{self.algorithm}"
        )

    def serves(self, address: str, protocol: int, port: int) -> bool:
        first, last = self.ports
        return self.address == address and self.protocol == protocol and first <= port <= last


Balancers = tuple[NodeBalancer, ...]
"""What a node balances, in order of ids; None instead: it doesn't run the service."""


def balancer_id(tenant: str, name: str, address: str, protocol: int, ports: object) -> str:
    """Return the id of a balancer's port."""
    said = f"{tenant}\0{name}\0{address}\0{protocol}\0{ports}"
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def balancers_total(balancers: Balancers | None) -> int:
    """Return the sum of terms that balancers add to a configuration's."""
    if balancers is None:
        return 0
    return (_SERVICE_TERM + sum(_term(each) for each in balancers)) % MODULUS


def balancer_to_json(balancer: NodeBalancer) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": balancer.id,
        "tenant": balancer.tenant,
        "name": balancer.name,
        "address": balancer.address,
        "protocol": balancer.protocol,
        "ports": list(balancer.ports),
        "algorithm": balancer.algorithm,
        "backends": list(balancer.backends),
    }
    if balancer.target is not None:
        data["target"] = balancer.target
    return data


def balancer_from_json(data: Any) -> NodeBalancer:
    """Return the balancer of a wire form.

    Invalid, with code `unsupported_field` for what a later version may mean, else `malformed`.
    """
    if not isinstance(data, Mapping):
        raise Invalid("a balancer must be an object", code="malformed")
    if unknown := sorted(data.keys() - _FIELDS):
        raise Invalid(
            f"a balancer has a field that this agent doesn't know: {unknown[0][:80]!r}",
            code="unsupported_field",
        )
    for name in ("id", "tenant", "name", "address", "algorithm"):
        if not isinstance(data.get(name), str):
            raise Invalid(f"a balancer's {name!r} is missing or no text", code="malformed")
    if data["algorithm"] not in ALGORITHMS:
        raise Invalid(
            f"a balancer's 'algorithm' is {data['algorithm'][:80]!r}, not one of "
            f"{', '.join(ALGORITHMS)}",
            code="unsupported_field",
        )
    ports: Any = data.get("ports")
    backends: Any = data.get("backends")
    if not _are(ports, int) or len(ports) != 2 or not _are(backends, str):
        raise Invalid("a balancer's ports or backends can't be read", code="malformed")
    numbers = [data.get("protocol"), *([data["target"]] if "target" in data else [])]
    if not _are(numbers, int):
        raise Invalid("a balancer's protocol and target must be numbers", code="malformed")
    return NodeBalancer(
        id=data["id"],
        tenant=data["tenant"],
        name=data["name"],
        address=data["address"],
        protocol=data["protocol"],
        ports=(ports[0], ports[1]),
        target=data.get("target"),
        algorithm=data["algorithm"],
        backends=tuple(backends),
    )


def balancers_delta(have: Balancers | None, want: Balancers | None) -> Changes | None:
    """Return what turns `have` into `want`, in wire form; None: the service doesn't run any more.

    Where only backends differ, only they are sent.
    """
    if want is None:
        return None
    before = {each.id: each for each in have or ()}
    after = {each.id: each for each in want}
    put, backends = [], {}
    for number, each in after.items():
        old = before.get(number)
        if old is None or replace(old, backends=each.backends) != each:
            put.append(balancer_to_json(each))
        elif old != each:
            backends[number] = {
                "add": [address for address in each.backends if address not in old.backends],
                "remove": [address for address in old.backends if address not in each.backends],
            }
    changes = {
        "remove": sorted(before.keys() - after.keys()),
        "put": put,
        "backends": backends,
    }
    return {name: value for name, value in changes.items() if value}


def changed_balancers(
    have: Balancers | None, delta: Changes | None, place: Any
) -> Balancers | None:
    """Return the balancers after `delta`; ValueError or KeyError if it doesn't fit.

    `place` puts addresses in order.
    """
    if delta is None:
        return None
    known = {each.id: each for each in have or ()}
    for number in delta.get("remove", ()):
        del known[number]
    for data in delta.get("put", ()):
        balancer = balancer_from_json(data)
        known[balancer.id] = balancer
    for number, change in delta.get("backends", {}).items():
        members = set(known[number].backends)
        if not members.issuperset(change["remove"]) or not members.isdisjoint(change["add"]):
            raise ValueError(f"the delta's backends of {number} don't fit what is there")
        left = (members - set(change["remove"])) | set(change["add"])
        known[number] = replace(known[number], backends=tuple(sorted(left, key=place)))
    return tuple(known[number] for number in sorted(known))


_SERVICE_TERM: Final = text_term(f"service {SERVICE}")


@lru_cache(1 << 12)
def _term(balancer: NodeBalancer) -> int:
    members = sum(text_term(f"backend {balancer.id} {each}") for each in balancer.backends)
    return (text_term(f"balancer {balancer.enforced}") + members) % MODULUS


def _are(values: Any, kind: type) -> bool:
    # Every bool is an int to isinstance.
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and all(type(each) is kind for each in values)
    )
