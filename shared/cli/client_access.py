"""What a client asks of logins, tokens, permissions and certificates: a part of Client."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from shared.cli.connection import API, Connection, params_of, segment_of
from shared.enrolment.joining import LINKS_PATH, ROOT_PATH
from shared.ids import COMMON


class AccessCalls:
    """Its methods raise what Client's do."""

    _connection: Connection

    async def sessions(self, *, user: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Return the logins that count: one's own, or everybody's if one may read users."""
        params = params_of(user=user)
        return [*(await self._connection.mapping("GET", f"{API}/sessions", params=params))["items"]]

    async def revoke(
        self,
        *,
        user: str | None = None,
        session: str | None = None,
        token: str | None = None,
        service_account: str | None = None,
        tenant: str = COMMON,
        reason: str = "",
    ) -> tuple[int, int]:
        """End what exactly one of them names; return how many logins and how many tokens."""
        named = {
            "users": user,
            "sessions": session,
            "tokens": token,
            "serviceaccounts": service_account,
        }
        ((plural, name),) = [(each, name) for each, name in named.items() if name is not None]
        params = params_of(tenant=tenant if service_account is not None else None)
        path = f"{API}/{plural}/{quote(name, safe='')}/revoke"
        body = {"reason": reason}
        answer = await self._connection.mapping("POST", path, body=body, params=params)
        return int(answer["sessions"]), int(answer["tokens"])

    async def give_token(
        self, service_account: str, *, tenant: str = COMMON, lifetime: str, description: str = ""
    ) -> Mapping[str, Any]:
        """Return a new token for a service account, with its `token`, which isn't shown again."""
        path = f"{API}/serviceaccounts/{segment_of(service_account)}/tokens"
        body = {"lifetime": lifetime, "description": description}
        return await self._connection.mapping(
            "POST", path, body=body, params=params_of(tenant=tenant)
        )

    async def given_tokens(
        self, service_account: str, *, tenant: str = COMMON
    ) -> Sequence[Mapping[str, Any]]:
        """Return the tokens of a service account, without their secrets."""
        path = f"{API}/serviceaccounts/{segment_of(service_account)}/tokens"
        found = await self._connection.mapping("GET", path, params=params_of(tenant=tenant))
        return [*found["items"]]

    async def rotate_keys(
        self, *, at_once: bool = False, reason: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Have the server sign tokens with a new key; return all keys, the latest first."""
        body = {"atOnce": at_once, "reason": reason}
        found = await self._connection.mapping("POST", f"{API}/tokenkeys/rotate", body=body)
        return [*found["items"]]

    async def may_i(
        self,
        verb: str,
        kind: str | None = None,
        *,
        tenant: str | None = None,
        scope: str | None = None,
        name: str | None = None,
    ) -> dict[str, Any]:
        """Ask whether one may do something; `allowed`, `role`, `binding` and `reason` say."""
        params = params_of(verb=verb, kind=kind, tenant=tenant, scope=scope, name=name)
        return await self._connection.mapping("GET", f"{API}/can-i", params=params)

    async def permissions(self) -> Sequence[Mapping[str, Any]]:
        """Return all that one may do: permissions by role and binding, where and on what."""
        return [*(await self._connection.mapping("GET", f"{API}/permissions"))["items"]]

    async def test_login(
        self, policy: Mapping[str, Any], username: str, password: str
    ) -> dict[str, Any]:
        """Let the server try the spec of an AuthenticationPolicy with a real login.

        The answer says for each provider whether it `vouched`, `refused` or was `unreachable`.
        """
        body = {"policy": dict(policy), "username": username, "password": password}
        return await self._connection.mapping("POST", f"{API}/authentication/test", body=body)

    async def certificates(self) -> Sequence[Mapping[str, Any]]:
        """Return what the server has issued, and its own certificates, with their states."""
        return [*(await self._connection.mapping("GET", f"{API}/certificates"))["items"]]

    async def revoke_certificate(
        self, target: str, *, reason: str, confirmed: bool = False
    ) -> Sequence[Mapping[str, str]]:
        """Revoke a certificate by its serial, or all of an identity; return them.

        Conflict (`confirmation_needed`) for the server's own and for somebody's last, unless
        `confirmed`.
        """
        body = {"target": target, "reason": reason, "confirmed": confirmed}
        path = f"{API}/certificates/revoke"
        return [*(await self._connection.mapping("POST", path, body=body))["revoked"]]

    async def rotate_certificate(
        self, what: str, *, step: str = "begin", force: bool = False
    ) -> Mapping[str, Any]:
        """Exchange a server's `root`, `issuing`, `authority` or `server` certificate.

        `step` is `begin`, `proceed` or `finish`.  Conflict (`not_followed`) names who would be out.
        """
        body = {"what": what, "step": step, "force": force}
        return await self._connection.mapping("POST", f"{API}/certificates/rotate", body=body)

    async def trusted_roots(self) -> tuple[str, str]:
        """Return the PEM of the roots that the server trusts, and of what vouches for new ones."""
        roots, links = [
            (await self._connection.call("GET", path)).body.decode("ascii", errors="replace")
            for path in (ROOT_PATH, LINKS_PATH)
        ]
        return roots, links
