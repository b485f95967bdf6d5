"""A client of the FSM and of SDSPs, for the commands of `hanse` and for programs of one's own.

    async with Client("https://fsm.example:8443", ca=Path("root.pem")) as client:
        await client.login("admin", password)
        async for site in client.list("Site", labels="env=prod"):
            print(site.name, site.spec.get("region"))
        policy = await client.get("SecurityPolicy", "three-tier")
        await client.patch("SecurityPolicy", "three-tier", {"spec": {"priority": 50}},
                           if_match=policy.revision)

Every method raises the HanseError that the server's problem document names (NotFound, Forbidden,
Invalid with `fields`, RevisionConflict, …), with the request's id in its notes, and Unreachable if
there is no answer.  `shared/docs/client.md` tells more.
"""

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from shared.cli.answers import (
    Applied,
    AuditEntry,
    Base,
    Change,
    Commit,
    Delete,
    Identity,
    Login,
    Object,
    Put,
    StatusChange,
    Token,
    moment_of,
)
from shared.cli.client_access import AccessCalls
from shared.cli.client_conflicts import ConflictCalls
from shared.cli.client_queries import QueryCalls
from shared.cli.client_rollouts import RolloutCalls
from shared.cli.client_upstream import UpstreamCalls
from shared.cli.connection import API, Connection, Lost, params_of, segment_of
from shared.cli.contexts import ContextsFile
from shared.cli.kinds import find_kind
from shared.cli.trust import person_context, read_roots, server_url
from shared.clock import Clock, SystemClock
from shared.http.peer import PeerClient, PeerLimits
from shared.ids import COMMON, parse_name
from shared.pki.authority import trust_domain_of
from shared.pki.identity import SpiffeId

_TRANSACTIONS: Final = f"{API}/transactions"
_WATCH: Final = f"{API}/watch"
_LOGIN: Final = f"{API}/login"
_RENEW: Final = f"{API}/login/renew"
MERGE_PATCH: Final = "application/merge-patch+json"

Renewal = Callable[["Client", str | None], Awaitable[Login | None]]
"""Gets a client another access token in place of one that counts no longer; None: there is none."""


class Client(AccessCalls, ConflictCalls, QueryCalls, RolloutCalls, UpstreamCalls):
    """One server, as one person.  Use as an async context manager, or call close()."""

    def __init__(
        self,
        server: str,
        *,
        ca: str | Path,
        token: str | None = None,
        identity: str | None = None,
        renewal: Renewal | None = None,
        limits: PeerLimits | None = None,
        clock: Clock | None = None,
        source: random.Random | None = None,
    ) -> None:
        """`server` is https://HOST:PORT; `ca` the file of the federation's root, or its PEM text.

        `identity` is whom to expect there (`spiffe://sfo.hanse.example/sdsp`); left out, it may be
        the FSM, or an SDSP whose certificate is made for HOST.  `renewal` takes the place of
        renew(), which uses what login() got.  `source` scatters retries.
        """
        roots = read_roots(ca)
        who = SpiffeId.parse(identity, trust_domain_of(roots[0])) if identity else None
        self.server = server_url(server)
        self.token = token
        self._refresh: str | None = None
        self._renewal = renewal
        self._renewing = asyncio.Lock()
        peer = PeerClient(
            [self.server],
            tls=person_context(roots, identity=who),
            token=lambda: self.token,
            limits=limits,
        )
        clock = clock or SystemClock()
        source = source or random.Random()  # noqa: S311 - scatters retries, keeps no secret
        self._connection = Connection(peer, clock=clock, source=source, renew=self._renew)
        # What asks for tokens isn't asked again with other tokens.
        self._asking = Connection(peer, clock=clock, source=source)

    @classmethod
    def from_context(
        cls, name: str | None = None, *, environ: Mapping[str, str] | None = None
    ) -> Self:
        """Return a client with the token of `hanse login`: of a context, or the current one.

        NotFound (`no_context`, `unknown_context`); Invalid if the file of contexts can't be used.
        """
        file = ContextsFile.of(os.environ if environ is None else environ)
        context = file.load().find(name)
        return cls(
            context.server,
            ca=context.ca,
            token=context.token,
            identity=context.identity,
            renewal=context_renewal(file, context.name),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connection.close()

    async def login(self, username: str, password: str) -> Login:
        """Trade a password for a token, which this client sends, and renews, from then on."""
        body = {"username": username, "password": password}
        login = Login.of((await self._asking.call("POST", _LOGIN, body=body)).json())
        self.token, self._refresh = login.token.text, login.refresh
        return login

    async def renew(self, refresh: str) -> Login:
        """Trade a refresh token for the next one, and an access token that is sent from then on.

        Unauthenticated (`token_expired`, `token_revoked`, `token_reused`): log in again.
        """
        # Its answer may be lost, and for a minute it may be sent again.
        answer = await self._asking.write("POST", _RENEW, body={"refreshToken": refresh})
        login = Login.of(answer.json())
        self.token, self._refresh = login.token.text, login.refresh
        return login

    async def logout(self) -> None:
        """End the login that the token belongs to: no token of it counts any longer."""
        await self._connection.call("POST", f"{API}/logout", body={})
        self.token = self._refresh = None

    async def _renew(self) -> bool:
        used = self.token
        async with self._renewing:
            if self.token != used:
                return True
            if self._renewal is not None:
                return await self._renewal(self, used) is not None
            if self._refresh is None:
                return False
            await self.renew(self._refresh)
            return True

    async def whoami(self) -> Identity:
        return Identity.of((await self._connection.call("GET", f"{API}/whoami")).json())

    async def get(
        self, kind: str, name: str, *, tenant: str = COMMON, scope: str | None = None
    ) -> Object:
        """Return one object; without `scope`, of the server's own: federation or site."""
        path, params = _address(kind, name, tenant, scope)
        return Object.of((await self._connection.call("GET", path, params=params)).json())

    async def list(
        self,
        kind: str,
        *,
        tenant: str | None = None,
        scope: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        page: int = 500,
    ) -> AsyncGenerator[Object, None]:
        """Yield objects of all tenants and scopes, or of those given, as of one revision.

        `labels` and `fields` are selectors as kubectl has them: `env=prod,!old`,
        `spec.vlan=110`.  Pages are fetched as they are needed.
        """
        params = params_of(
            tenant=tenant, scope=scope, labelSelector=labels, fieldSelector=fields, limit=page
        )
        path = f"{API}/{find_kind(kind).plural}"
        while True:
            document = await self._connection.mapping("GET", path, params=params)
            for each in document["items"]:
                yield Object.of(each)
            goes_on = document["metadata"].get("continue")
            if goes_on is None:
                return
            params["continue"] = goes_on

    async def put(
        self,
        document: Mapping[str, Any],
        *,
        if_match: int | None = None,
        dry_run: bool = False,
        force: bool = False,
    ) -> Object:
        """Create the object of a document, or replace it.

        `if_match` is the revision that must still stand (RevisionConflict else), 0 if there must
        be no such object yet.
        """
        applied = await self.transaction([Put(document, if_match)], dry_run=dry_run, force=force)
        return applied.results[0].object

    async def patch(
        self,
        kind: str,
        name: str,
        patch: Mapping[str, Any],
        *,
        tenant: str = COMMON,
        scope: str | None = None,
        if_match: int | None = None,
        dry_run: bool = False,
        force: bool = False,
    ) -> Object:
        """Change an object by a JSON merge patch (RFC 7396): `{"spec": {"priority": 50}}`."""
        path, params = _address(kind, name, tenant, scope)
        params |= _options(dry_run=dry_run, force=force)
        headers = {"Content-Type": MERGE_PATCH}
        if if_match is not None:
            headers["If-Match"] = f'"{if_match}"'
        answer = await self._connection.write(
            "PATCH", path, body=patch, params=params, headers=headers
        )
        return Object.of(answer.json())

    async def delete(
        self,
        kind: str,
        name: str,
        *,
        tenant: str = COMMON,
        scope: str | None = None,
        if_match: int | None = None,
        dry_run: bool = False,
        force: bool = False,
    ) -> Object:
        """Delete an object and return it as it last was."""
        operation = Delete(find_kind(kind).name, parse_name(name), tenant, scope, if_match)
        applied = await self.transaction([operation], dry_run=dry_run, force=force)
        return applied.results[0].object

    async def transaction(
        self,
        operations: Sequence[Put | Delete],
        *,
        dry_run: bool = False,
        force: bool = False,
        reason: str | None = None,
        base: Base | None = None,
    ) -> Applied:
        """Write several objects in one revision, all or nothing.

        With `base`, only if nothing that they rest on has changed since: else Conflict
        (`base_moved`).

        Of an Invalid, a field's path begins with `operations[INDEX].object` (with a single
        operation it may be the document's own).  `reason` is kept in the audit trail.
        """
        body: dict[str, Any] = {"operations": [each.to_json() for each in operations]}
        if reason is not None:
            body["reason"] = reason
        if base is not None:
            body["base"] = base.to_json()
        params = _options(dry_run=dry_run, force=force)
        answer = await self._connection.write(
            "POST", f"{API}/transactions", body=body, params=params
        )
        return Applied.of(answer.json())

    async def watch(
        self,
        kinds: Iterable[str] = (),
        *,
        after: int | None = None,
        tenant: str | None = None,
        labels: str | None = None,
        on_lost: Lost | None = None,
    ) -> AsyncGenerator[Commit, None]:
        """Yield each later change once and in order, a commit at a time; it doesn't end.

        `after` is a revision (of an object, a list or a commit); left out, from now.  A connection
        that breaks is made anew from where it was; before the server was heard at all, that is
        Unreachable.  RevisionCompacted means: the changes since then are forgotten; list again.
        """
        params = params_of(kinds=_plurals(kinds), tenant=tenant, labelSelector=labels)
        async for line in self._connection.follow(_WATCH, params, after, "revision", on_lost):
            if line.get("type") == "commit":
                yield Commit.of(line)

    async def watch_status(
        self,
        kinds: Iterable[str] = (),
        *,
        after: int | None = None,
        tenant: str | None = None,
        on_lost: Lost | None = None,
    ) -> AsyncGenerator[StatusChange, None]:
        """Yield observed status as it changes, of each object the latest only.

        `after` is a StatusChange's sequence; left out, the status of all objects comes first.
        """
        params = params_of(kinds=_plurals(kinds), tenant=tenant, status="true")
        async for line in self._connection.follow(_WATCH, params, after, "sequence", on_lost):
            if line.get("type") == "status":
                yield StatusChange(int(line["sequence"]), Object.of(line["object"]))

    async def history(
        self,
        kind: str,
        name: str,
        *,
        tenant: str = COMMON,
        scope: str | None = None,
        before: int | None = None,
        limit: int | None = None,
    ) -> AsyncGenerator[Change, None]:
        """Yield an object's changes, latest first, also of one that was deleted.

        With `before`, those of earlier revisions only.
        """
        path, params = _address(kind, name, tenant, scope)
        params |= params_of(before=before)
        async for item in self._connection.backwards(f"{path}/history", params, limit, "revision"):
            yield Change.of(item)

    async def audit(
        self,
        *,
        kind: str | None = None,
        name: str | None = None,
        tenant: str | None = None,
        scope: str | None = None,
        text: str | None = None,
        changes: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[AuditEntry, None]:
        """Yield the audit trail, latest first; with `kind` and `name`, of one object.

        `changes` leaves out reads, refusals, and renewals of logins and certificates.
        """
        params = params_of(
            kind=find_kind(kind).name if kind else None,
            name=name,
            tenant=tenant,
            scope=scope,
            text=text,
            changes="true" if changes else None,
        )
        async for item in self._connection.backwards(f"{API}/audit", params, limit, "number"):
            yield AuditEntry.of(item)

    async def audit_export(self, *, after: int = 0) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the lines of an export of the audit trail, oldest first; see GET /audit/export.

        Unreachable if it breaks off: go on behind the last record's number.
        """
        lines = self._connection.lines(f"{API}/audit/export", {"after": str(after)})
        async with aclosing(lines):
            async for line in lines:
                yield line

    async def status(self, site: str | None = None) -> dict[str, Any]:
        """Return how the federation or the site stands; with `site`, the FSM tells of that one."""
        path = f"{API}/status" if site is None else f"{API}/sites/{segment_of(site)}/status"
        return await self._connection.mapping("GET", path)

    async def resolve(self, *, node: str | None = None, staged: bool = False) -> dict[str, Any]:
        """Return the rules that a site, or one of its nodes, makes of policy.  Asks an SDSP."""
        params = params_of(node=node, staged="true" if staged else None)
        return await self._connection.mapping("GET", f"{API}/resolve", params=params)

    async def trace(
        self, flow: Mapping[str, Any], *, node: str | None = None, staged: bool = False
    ) -> dict[str, Any]:
        """Judge a flow `{"from", "to", "protocol", "port", "sourcePort"}`.  Asks an SDSP."""
        body = {**flow, "staged": staged, **({"node": node} if node else {})}
        return await self._connection.mapping("POST", f"{API}/trace", body=body)

    async def held(self) -> Sequence[Mapping[str, Any]]:
        """Return what a site enforces still although the FSM has it no longer.  Asks an SDSP."""
        items = (await self._connection.mapping("GET", f"{API}/held"))["items"]
        return [*items]

    async def drop_held(self, keys: Sequence[Mapping[str, str]], *, reason: str) -> int:
        """Let held objects (`{"kind", "name", "tenant", "scope"}`) go, all or none.

        Returns how many; `reason` is kept in the audit trail.
        """
        body = {"keys": [*keys], "reason": reason}
        answer = (await self._connection.write("POST", f"{API}/held/drop", body=body)).json()
        return int(answer["dropped"])

    async def join_token(self, kind: str, name: str, *, replace: bool = False) -> Token:
        """Return a new token for a Site (asks the FSM) or a Node (asks its SDSP) to join with."""
        path = f"{API}/{find_kind(kind).plural}/{segment_of(name)}/jointoken"
        params = params_of(replace="true" if replace else None)
        answer = await self._connection.mapping("POST", path, body={}, params=params)
        return Token(str(answer["token"]), moment_of(answer.get("expiresAt")))


def context_renewal(file: ContextsFile, name: str) -> Renewal:
    """Return what renews a context's login, once for all commands that run at a time."""

    async def renewal(client: Client, used: str | None) -> Login | None:
        async with file.renewing():
            context = file.load().named(name)
            if context is None or context.refresh_token is None:
                return None
            if context.token is not None and context.token != used:
                # Another command was quicker.
                client.token = context.token
                return Login(
                    Token(context.token, None), context.refresh_token, context.expires_at, ""
                )
            login = await client.renew(context.refresh_token)
            file.renew(name, login.token.text, login.refresh, login.ends_at)
            return login

    return renewal


def _address(kind: str, name: str, tenant: str, scope: str | None) -> tuple[str, dict[str, str]]:
    path = f"{API}/{find_kind(kind).plural}/{segment_of(name)}"
    return path, params_of(tenant=None if tenant == COMMON else tenant, scope=scope)


def _plurals(kinds: Iterable[str]) -> str | None:
    return ",".join(find_kind(kind).plural for kind in kinds) or None


def _options(*, dry_run: bool, force: bool) -> dict[str, str]:
    return params_of(dryRun="true" if dry_run else None, force="true" if force else None)
