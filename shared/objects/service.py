"""The one way to write objects: authorise, read, judge, commit with the audit record.

Judging runs outside of the transaction, against what this process knows of the store; the store
then commits only if what was read still stands, else it is judged again by a fresh snapshot, and
so is what would be refused.  A dry run does all of this and takes it back.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from shared.access.book import ACCESS_KINDS
from shared.clock import Clock
from shared.errors import (
    Conflict,
    FieldError,
    HanseError,
    Invalid,
    NotFound,
    RevisionCompacted,
    RevisionConflict,
)
from shared.failpoints import pause
from shared.http.response import is_secret
from shared.ids import Key, Revision
from shared.login.secrets import MOST, Sealed, Secrets
from shared.metrics.names import WRITE_RETRIES, WRITES, Metrics
from shared.model.base import Envelope
from shared.model.kinds import DEFAULT_SCOPE, Home
from shared.objects.admission import Admission, Base, Batch, Fault, Proposal, Review
from shared.objects.call import Call
from shared.objects.diff import diff_of
from shared.objects.rights import check_labels, check_scope, check_write
from shared.objects.trail import Trail
from shared.store.contract import Draft, Operation, Snapshot, Store, Stored, Transaction

LOCAL: Final = "local"

# Of writers that make each other's judgement void, all but the first wait for each other, so
# this is only reached when another process keeps writing.
_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Write:
    """One wish: put an envelope, or delete (`envelope` None).

    `expected` is the revision that must still stand, ABSENT for "there must be none".
    """

    key: Key
    envelope: Envelope[Any] | None
    expected: Revision | None = None

    @property
    def operation(self) -> Operation:
        return Operation.DELETE if self.envelope is None else Operation.PUT


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one wish: the object as it stands now; of a deletion, as it last stood."""

    operation: Operation
    stored: Stored
    created: bool = False
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Applied:
    """A batch that was committed, or would have been (dry run).

    `revision` is the store's after it.  Of a replayed request (the same request id, sent again)
    the objects are as that request left them, or as they are now if the log is compacted.
    """

    written: tuple[Written, ...]
    revision: Revision
    warnings: tuple[Fault, ...] = ()
    replayed: bool = False


Alongside = Callable[[Transaction, Sequence[Written]], Awaitable[None]]
"""Writes a component's own records in the transaction of the objects.  May run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a batch is written.

    `trusted`: the calling code has checked the caller's rights itself, and may write kinds and
    inherited objects that only the system writes.  `origin` is what an SDSP notes of the object.
    `tolerated` are codes of faults of admission that are no reason to refuse: what is written back
    stood here with them.  With `base` it is written only if nothing that it rests on has changed
    since.
    """

    dry_run: bool = False
    force: bool = False
    reason: str | None = None
    trusted: bool = False
    origin: str | None = None
    alongside: Alongside | None = None
    tolerated: frozenset[str] = frozenset()
    base: Base | None = None


DEFAULT: Final = Options()


@dataclass(frozen=True, slots=True)
class _Task:
    """One call of apply(), as its steps hand it on."""

    call: Call
    writes: Sequence[Write]
    options: Options
    request_id: str | None
    sealed: dict[Key, Sealed] = field(default_factory=dict)
    """The Credentials of the batch, as the last try is to write them."""


class _Doubtful(Exception):
    """Refused by a view that may lack what another process has just written: look again."""


class _DryRunDone(Exception):
    """Carries the result of a dry run out of the transaction that it undoes."""

    def __init__(self, written: tuple[Written, ...]) -> None:
        self.written = written


class Objects:
    def __init__(
        self,
        *,
        store: Store,
        home: Home,
        admission: Admission,
        trail: Trail,
        clock: Clock,
        metrics: Metrics,
        secrets: Secrets,
        alongside: Alongside | None = None,
        settled: Callable[[Revision], Awaitable[None]] | None = None,
    ) -> None:
        """`alongside` is what the component itself writes with every batch; `settled` waits until
        what says who may do what counts here as of a revision.
        """
        self._settled = settled
        self._secrets = secrets
        self._store = store
        self._alongside = alongside
        self._home = home
        self._admission = admission
        self._trail = trail
        self._clock = clock
        self._metrics = metrics
        self._queue = asyncio.Lock()

    @property
    def home(self) -> Home:
        return self._home

    @property
    def default_scope(self) -> str:
        return DEFAULT_SCOPE[self._home]

    async def apply(
        self, call: Call, writes: Sequence[Write], options: Options = DEFAULT
    ) -> Applied:
        """Write a batch, all or nothing.

        Raises Forbidden, NotFound, Invalid with the fields (`operations[i].object` before their
        path if there are several), RevisionConflict, Conflict (`inherited_read_only`),
        Unavailable and StorageFull.
        """
        try:
            self._check(call, writes, options)
            applied = await self._apply(call, writes, options)
        except HanseError as exc:
            self._metrics.counter(WRITES).labels(exc.code).inc()
            key = writes[0].key if len(writes) == 1 else None
            await self._trail.refused(call, "write", exc, key=key)
            raise
        concerns_access = any(write.key.kind in ACCESS_KINDS for write in writes)
        if self._settled and concerns_access and not options.dry_run:
            # Whoever is told that it is done finds it so, however soon he comes.
            await self._settled(applied.revision)
        if applied.replayed and not options.trusted:
            # It was allowed then; what it left behind may have got other labels since.
            for each in applied.written:
                check_labels(call.caller, each.stored.key, before=each.stored.labels, after=None)
        self._metrics.counter(WRITES).labels("dry_run" if options.dry_run else "ok").inc()
        return applied

    async def find(self, key: Key) -> Stored | None:
        """Return an object as it is now, for the calling code's own use."""
        async with self._store.snapshot() as snapshot:
            return await snapshot.get(key)

    def _check(self, call: Call, writes: Sequence[Write], options: Options) -> None:
        faults: list[Fault] = []
        seen: set[Key] = set()
        secrets = [write for write in writes if write.envelope and is_secret(write.key.kind)]
        if len(secrets) > MOST:
            message = f"a transaction sets at most {MOST} secrets; send them in several"
            faults.append(Fault(0, FieldError("", "too_many_secrets", message)))
        for index, write in enumerate(writes):
            if not options.trusted:
                check_write(call.caller, write.key)
            try:
                check_scope(self._home, write.key)
            except Invalid as exc:
                faults.append(Fault(index, FieldError("metadata.scope", exc.code, exc.message)))
            if write.key in seen:
                message = f"{write.key} stands twice in the transaction"
                faults.append(Fault(index, FieldError("metadata.name", "duplicate", message)))
            seen.add(write.key)
        refuse(faults, alone=len(writes) == 1)

    async def _apply(self, call: Call, writes: Sequence[Write], options: Options) -> Applied:
        request_id = (
            self._identifier(call, writes) if call.repeatable and not options.dry_run else None
        )
        if request_id and (revision := await self._store.committed(request_id)) is not None:
            return await self._replay(writes, revision)
        task = _Task(call, writes, options, request_id)
        doubtful = False
        for attempt in range(_TRIES):
            try:
                # Whoever was overtaken must not be by all who come after him: they queue behind.
                if not attempt and not self._queue.locked():
                    return await self._try(task, self._store.recent(), last=False)
                if attempt and not doubtful:
                    self._metrics.counter(WRITE_RETRIES).inc()
                async with self._queue:
                    return await self._try(task, self._store.snapshot())
            except _Doubtful:
                doubtful = True
                continue
            except RevisionConflict as exc:
                if exc.code != "validation_outdated":
                    raise
        raise Conflict(
            "what this write depends on keeps changing; try again", code="validation_outdated"
        )

    async def _try(
        self, task: _Task, view: AbstractAsyncContextManager[Snapshot], *, last: bool = True
    ) -> Applied:
        """Judge by a view and commit; what isn't the `last` view refuses nothing by itself."""
        try:
            async with view as snapshot:
                proposals = await self._proposals(task, snapshot)
                batch = Batch(
                    tuple(proposals),
                    task.call.caller,
                    force=task.options.force,
                    trusted=task.options.trusted,
                    base=task.options.base,
                )
                review = await self._admission.review(batch, snapshot)
                review = _tolerant(review, task.options.tolerated)
                validated_at = snapshot.position.revision
        except HanseError as exc:
            raise exc if last else _Doubtful from exc
        if review.faults and not last:
            raise _Doubtful
        refuse(review.faults, alone=len(task.writes) == 1)
        for index, draft in review.drafts.items():
            proposals[index] = replace(proposals[index], draft=draft)
        return await self._commit(task, proposals, review, validated_at)

    async def _proposals(self, task: _Task, snapshot: Snapshot) -> list[Proposal]:
        proposals, faults = [], []
        task.sealed.clear()
        for index, write in enumerate(task.writes):
            before = await snapshot.get(write.key)
            _check_labels(task, write.key, before, write.envelope)
            draft = self._draft(write, task.options)
            if draft is not None and write.envelope is not None and is_secret(write.key.kind):
                try:
                    sealed = await self._secrets.seal(
                        draft, write.envelope.spec, before=before, snapshot=snapshot
                    )
                except Invalid as exc:
                    faults += [Fault(index, each) for each in exc.fields]
                else:
                    task.sealed[write.key] = sealed
                    draft = sealed.draft
            proposals.append(Proposal(write.operation, write.key, write.envelope, draft, before))
        refuse(faults, alone=len(task.writes) == 1)
        return proposals

    async def _commit(
        self,
        task: _Task,
        proposals: Sequence[Proposal],
        review: Review,
        validated_at: Revision,
    ) -> Applied:
        options = task.options

        async def unit(transaction: Transaction) -> tuple[Written, ...]:
            written = [
                await self._write(transaction, task, proposal, write.expected)
                for proposal, write in zip(proposals, task.writes, strict=True)
            ]
            for alongside in (self._alongside, options.alongside):
                if alongside:
                    await alongside(transaction, written)
            if options.dry_run:
                raise _DryRunDone(tuple(written))
            return tuple(written)

        try:
            committed = await self._store.transact(
                unit,
                request_id=task.request_id,
                validated_at=validated_at if review.depends_on else None,
                depends_on=review.depends_on,
            )
        except _DryRunDone as done:
            self._trail.taken_back(task.call)
            return Applied(done.written, validated_at, review.warnings)
        await pause("objects.acknowledge.before")
        revision = committed.position.revision
        if committed.replayed:
            return await self._replay(task.writes, revision)
        return Applied(committed.result, revision, review.warnings)

    async def _write(
        self,
        transaction: Transaction,
        task: _Task,
        proposal: Proposal,
        expected: Revision | None,
    ) -> Written:
        options = task.options
        before = await transaction.get(proposal.key)
        # Somebody may have given it other labels since it was judged.
        _check_labels(task, proposal.key, before, proposal.envelope)
        if before and before.origin not in (None, LOCAL) and not options.trusted:
            raise Conflict(
                f"{proposal.key} is inherited and read-only here; to differ from it, write an "
                "Override",
                code="inherited_read_only",
            )
        if proposal.draft is None:
            after = None
            stored = await transaction.delete(proposal.key, expected=expected)
            if is_secret(proposal.key.kind):
                await self._secrets.forget(transaction, proposal.key)
        else:
            if is_secret(proposal.key.kind):
                # What isn't sealed is not to be written, whoever asks for it.
                await self._secrets.keep(transaction, task.sealed[proposal.key], before)
            after = stored = await transaction.put(proposal.draft, expected=expected)
        created = before is None
        changed = after is None or created or (before is not None and before != after)
        if changed:
            action = "delete" if after is None else "create" if created else "update"
            await transaction.audit(
                self._trail.record(
                    task.call,
                    action,
                    key=proposal.key,
                    reason=options.reason,
                    diff=diff_of(before, after),
                )
            )
        return Written(proposal.operation, stored, created=created, changed=changed)

    async def _replay(self, writes: Sequence[Write], revision: Revision) -> Applied:
        """Answer a request that was committed before with what it left behind."""
        found = await self._as_of(revision, writes)
        written = [
            Written(write.operation, stored or await self._last(write.key), changed=False)
            for write, stored in zip(writes, found, strict=True)
        ]
        return Applied(tuple(written), revision, replayed=True)

    async def _as_of(self, revision: Revision, writes: Sequence[Write]) -> list[Stored | None]:
        try:
            async with self._store.snapshot(revision) as snapshot:
                return [await snapshot.get(write.key) for write in writes]
        except RevisionCompacted:
            async with self._store.snapshot() as snapshot:
                return [await snapshot.get(write.key) for write in writes]

    async def _last(self, key: Key) -> Stored:
        for change in await self._store.history(key, limit=1):
            if last := change.after or change.before:
                return last
        raise NotFound(f"there is no {key} any more")

    def _identifier(self, call: Call, writes: Sequence[Write]) -> str:
        """Return what tells this request from all others, whoever chose the same request id.

        A request counts as the same only with the same caller and the same content, so that a
        correlation id that someone sends with all his requests swallows none of them.
        """
        content = [[*write.key, write.expected, self._content(write)] for write in writes]
        data = orjson.dumps([call.caller.identity, call.request_id, content])
        return hashlib.sha256(data).hexdigest()

    def _content(self, write: Write) -> dict[str, Any] | None:
        if write.envelope is None:
            return None
        content = write.envelope.model_dump(mode="json", by_alias=True)
        # What is kept of a request would let whoever reads the database try out secrets.
        return self._secrets.blinded(content) if is_secret(write.key.kind) else content

    def _draft(self, write: Write, options: Options) -> Draft | None:
        if write.envelope is None:
            return None
        metadata = write.envelope.metadata
        return Draft(
            key=write.key,
            # A secret is never in a draft: what is written of it is sealed beside it.
            spec={} if is_secret(write.key.kind) else write.envelope.spec.to_json(),
            labels=dict(metadata.labels),
            annotations=dict(metadata.annotations),
            origin=options.origin or (LOCAL if self._home == "sdsp" else None),
        )


def _check_labels(
    task: _Task, key: Key, before: Stored | None, envelope: Envelope[Any] | None
) -> None:
    if not task.options.trusted:
        check_labels(
            task.call.caller,
            key,
            before=before.labels if before else None,
            after=envelope.metadata.labels if envelope else None,
        )


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with a JSON merge patch applied (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def _tolerant(review: Review, codes: frozenset[str]) -> Review:
    if not codes:
        return review
    left = tuple(each for each in review.faults if each.error.code not in codes)
    return replace(review, faults=left)


def refuse(faults: Sequence[Fault], *, alone: bool) -> None:
    """Raise Invalid with all faults, if there are any."""
    if not faults:
        return
    fields = [fault.error if alone else _in_transaction(fault) for fault in faults]
    codes = {field.code for field in fields}
    # With one reason only, it is the code of the whole: programs needn't look into the fields.
    code = codes.pop() if len(codes) == 1 else None
    message = (
        fields[0].message if len(fields) == 1 else f"{len(fields)} faults; nothing was written"
    )
    recorded = faults[0].recorded if len(faults) == 1 else None
    raise Invalid(message, code=code, fields=fields, recorded=recorded)


def _in_transaction(fault: Fault) -> FieldError:
    prefix = f"operations[{fault.index}].object"
    path = f"{prefix}.{fault.error.path}" if fault.error.path else prefix
    return replace(fault.error, path=path)
