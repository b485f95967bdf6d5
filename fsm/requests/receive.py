"""A site's change requests come in: each is judged, completed and kept, once."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, JsonValue

from fsm.feed.hub import Hub
from fsm.feed.item import Item
from fsm.feed.reports import Count, Scope, TargetBody
from fsm.feed.select import is_meant_for
from shared.clock import Clock
from shared.errors import Conflict, FieldError, Invalid, Unavailable
from shared.failpoints import pause
from shared.http.body import Body
from shared.ids import COMMON, FEDERATION, Key
from shared.model.base import API_VERSION, Name, Time
from shared.model.documents import parse_value
from shared.model.override import ChangeRequest
from shared.model.policy import SecurityPolicy
from shared.objects.call import Call
from shared.objects.trail import Trail
from shared.policy.definitions import INHERITED_KINDS
from shared.policy.faults.references import addresses
from shared.policy.inputs import Document
from shared.policy.merging import exempted
from shared.store.contract import Draft, Selection, Store, Stored, Transaction

KIND: Final = "ChangeRequest"
REQUESTS: Final = Selection(kinds=frozenset({KIND}))

MOST_OPEN: Final = 100
"""Requests of one site that nobody has answered."""

_HISTORY: Final = 1000


class RequestBody(Body):
    """What a site asks for, as a person there decided to ask it."""

    name: Name = Field(description="Chosen by the site; the same request has the same name.")
    tenant: Name = COMMON
    target: TargetBody
    scope: Scope = FEDERATION
    base_revision: Count = Field(
        alias="baseRevision", description="The target's revision that the site knew."
    )
    spec: dict[str, JsonValue] = Field(description="Without enforcement and sites.")
    reason: str = Field(min_length=1, max_length=2000)
    requested_by: str = Field("", alias="requestedBy", max_length=500)
    at: Time
    conflict: Name
    withdrawn: str | None = Field(
        None, max_length=500, description="Why the site needs no answer any more."
    )

    @property
    def key(self) -> Key:
        return Key(KIND, self.tenant, FEDERATION, self.name)

    @property
    def target_key(self) -> Key:
        return Key(self.target.kind, self.target.tenant, self.scope, self.target.name)


class ReceiveRequests:
    def __init__(self, store: Store, hub: Hub, *, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._hub = hub
        self._trail = trail
        self._clock = clock

    async def receive(self, call: Call, site: str, body: RequestBody) -> Stored:
        """Keep a request, or withdraw it; return it as it stands.  The same one may come again.

        Invalid (`unknown_target`, `unknown_base`, `unknown_tenant`, `address_in_global_policy`, or
        what is wrong with the spec); Conflict (`request_exists`, `too_many_open_requests`).
        """
        known = await self._known(site, body)
        draft = None if known else await self._draft(site, body)

        async def work(transaction: Transaction) -> Stored:
            before = await transaction.get(body.key)
            if before is None and draft is not None:
                await _check_count(transaction, site)
                await self._write(transaction, call, draft, "create", body.reason)
            elif before is not None:
                _check_owner(before, site)
                if body.withdrawn is not None and before.spec.get("state", "open") == "open":
                    draft_ = _withdrawn(before, body.withdrawn)
                    await self._write(transaction, call, draft_, "withdraw", body.withdrawn)
            found = await transaction.get(body.key)
            if found is None:
                raise Conflict("it was deleted a moment ago; send it again", code="conflict")
            return found

        await pause("fsm.request.before")
        found = (await self._store.transact(work)).result
        await pause("fsm.request.after")
        return found

    async def _write(
        self, transaction: Transaction, call: Call, draft: Draft, action: str, reason: str
    ) -> None:
        await transaction.put(draft)
        record = self._trail.record(
            call,
            f"changerequest.{action}",
            key=draft.key,
            reason=reason,
            diff={"target": draft.spec["target"], "conflict": draft.spec.get("conflict", "")},
        )
        await transaction.audit(record)

    async def _known(self, site: str, body: RequestBody) -> bool:
        async with self._store.snapshot() as snapshot:
            before = await snapshot.get(body.key)
        if before is not None:
            _check_owner(before, site)
        return before is not None

    async def _draft(self, site: str, body: RequestBody) -> Draft:
        await self._catch_up(body.base_revision)
        target = self._target(site, body)
        if body.tenant != COMMON and Key("Tenant", COMMON, FEDERATION, body.tenant) not in (
            self._hub.world
        ):
            raise _refused(
                "tenant", code="unknown_tenant", message=f"there is no tenant {body.tenant}"
            )
        spec = asked_spec(target.stored, body.spec)
        base = await self._base(target.stored, body.base_revision)
        request = {
            "site": site,
            "target": body.target.model_dump(),
            "scope": body.scope,
            "spec": exempted(spec),
            "reason": body.reason,
            "base": {"revision": body.base_revision, "spec": base},
            "conflict": body.conflict,
            "requestedBy": body.requested_by,
            "at": body.at.isoformat(),
            "state": "open" if body.withdrawn is None else "withdrawn",
            "answer": body.withdrawn or "",
        }
        return Draft(key=body.key, spec=ChangeRequest.model_validate(request).to_json())

    async def _catch_up(self, revision: int) -> None:
        """Wait for what another process of this FSM may have sent the site already."""
        if revision > (await self._store.position()).revision:
            raise _unknown_base(f"the FSM has no revision {revision}")
        if not await self._hub.reach(revision):
            raise Unavailable("this FSM process is behind the store; try again")

    def _target(self, site: str, body: RequestBody) -> Item:
        """Return the object that is asked about, if the site may know of it."""
        key = body.target_key
        item = self._hub.world.get(key) if key.kind in INHERITED_KINDS else None
        if item is None or not is_meant_for(self._hub.view(site), item.audience):
            message = f"the federation has no {key.kind} {key.name} for site {site}"
            raise _refused("target", code="unknown_target", message=message)
        return item

    async def _base(self, target: Stored, revision: int) -> Mapping[str, Any]:
        """Return what the site had seen, in the FSM's own words."""
        if target.revision == revision:
            return target.spec
        for change in await self._store.history(target.key, limit=_HISTORY):
            if change.revision == revision and change.after is not None:
                return change.after.spec
        raise _unknown_base(f"{target.key} has no revision {revision} here")


def asked_spec(target: Stored, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec that a target would have: what is asked, and whom and how it binds as now.

    Invalid with what is wrong with it.
    """
    kept = {name: target.spec[name] for name in ("enforcement", "sites") if name in target.spec}
    key = target.key
    document = {
        "apiVersion": API_VERSION,
        "kind": key.kind,
        "metadata": {"name": key.name, "tenant": key.tenant, "scope": key.scope},
        "spec": {**exempted(asked), **kept},
    }
    envelope, faults = parse_value(document)
    if envelope is None or faults:
        raise Invalid("what is asked for is not valid", fields=list(faults))
    if isinstance(envelope.spec, SecurityPolicy):
        found = [*addresses(Document(key, envelope.spec), envelope.spec)]
        if found:
            fields = [FieldError(each.path, each.code, each.message) for each in found]
            raise Invalid(found[0].message, code=found[0].code, fields=fields)
    return dict(envelope.spec.to_json())


async def _check_count(transaction: Transaction, site: str) -> None:
    found = [
        each
        for each in await transaction.list(REQUESTS)
        if each.spec["site"] == site and each.spec.get("state", "open") == "open"
    ]
    if len(found) >= MOST_OPEN:
        raise Conflict(
            f"site {site} waits for the answers to {len(found)} change requests already",
            code="too_many_open_requests",
        )


def _check_owner(before: Stored, site: str) -> None:
    if before.spec["site"] != site:
        raise Conflict(
            "a change request of that name exists; choose another", code="request_exists"
        )


def _withdrawn(before: Stored, why: str) -> Draft:
    return Draft(
        key=before.key,
        spec={**before.spec, "state": "withdrawn", "answer": why},
        labels=before.labels,
        annotations=before.annotations,
    )


def _unknown_base(why: str) -> Invalid:
    return _refused(
        "baseRevision", code="unknown_base", message=f"{why}; let the site list again, and ask anew"
    )


def _refused(path: str, *, code: str, message: str) -> Invalid:
    return Invalid(message, code=code, fields=[FieldError(path, code, message)])
