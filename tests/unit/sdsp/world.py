"""A site's documents in a store in memory."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from shared.auth.identity import Caller, CallerKind, Grant
from shared.ids import Key
from shared.model.base import Envelope
from shared.model.kinds import KINDS
from shared.objects.admission import Batch, Proposal
from shared.store.contract import Draft, Operation, Stored
from tests.fakes.store import MemoryStore, MemoryTransaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)

SITE = Key("Site", "common", "federation", "s1")


def key(kind: str, name: str, scope: str = "site", tenant: str = "common") -> Key:
    return Key(kind, tenant, scope, name)


def global_(kind: str, name: str, tenant: str = "common") -> Key:
    return Key(kind, tenant, "federation", name)


def rule(name: str = "r", *, to: Any = "any", action: str = "deny") -> dict[str, Any]:
    return {"name": name, "from": "any", "to": to, "action": action}


def policy(*rules: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"rules": list(rules), **more}


def to_network(name: str) -> list[dict[str, str]]:
    return [{"network": name}]


async def write(
    store: MemoryStore,
    objects: Mapping[Key, Mapping[str, Any]],
    *,
    delete: Iterable[Key] = (),
    labels: Mapping[str, str] | None = None,
) -> None:
    async def work(transaction: MemoryTransaction) -> None:
        for each, spec in objects.items():
            await transaction.put(Draft(each, spec, labels=labels or {}))
        for each in delete:
            await transaction.delete(each)

    await store.transact(work)


def caller(
    *permissions: str, tenants: Iterable[str] | None = None, scopes: Iterable[str] | None = None
) -> Caller:
    grant = Grant(
        "test",
        frozenset(permissions),
        None if tenants is None else frozenset(tenants),
        None if scopes is None else frozenset(scopes),
    )
    return Caller(CallerKind.PERSON, "user:ops", "ops", grants=(grant,))


def put(
    of: Key,
    spec: Mapping[str, Any],
    *,
    before: Stored | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Proposal:
    metadata = {
        "name": of.name,
        "tenant": of.tenant,
        "scope": of.scope,
        "annotations": dict(annotations or {}),
    }
    document = {
        "apiVersion": "hanse/v1",
        "kind": of.kind,
        "metadata": metadata,
        "spec": KINDS[of.kind].spec.model_validate(spec),
    }
    envelope = Envelope[Any].model_validate(document)
    draft = Draft(of, envelope.spec.to_json(), annotations=dict(annotations or {}), origin="local")
    return Proposal(Operation.PUT, of, envelope, draft, before)


def delete(of: Key, before: Stored | None = None) -> Proposal:
    return Proposal(Operation.DELETE, of, None, None, before)


def batch(by: Caller, *proposals: Proposal, force: bool = False) -> Batch:
    return Batch(tuple(proposals), by, force=force)
