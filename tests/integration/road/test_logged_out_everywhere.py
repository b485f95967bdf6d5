"""Whoever is logged out at the FSM is out at every site, also one that was cut off.

FSM, SDSP, the wire between them, their TLS and the directory are real.
"""

from typing import Any

import pytest

from shared.cli.client import Client
from shared.errors import Forbidden, HanseError
from tests.directory import PASSWORDS, SERVICE_PASSWORD, Directory
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.integration.road.test_login_policy import until_ended
from tests.integration.road.world import RoadSite, document

pytestmark = pytest.mark.slapd


async def revoke(fsm: FSM, user: str) -> dict[str, Any]:
    path = f"/api/v1/users/{user}/revoke"
    answer: dict[str, Any] = (
        await fsm.admin().client.post(path, {"reason": "he has left the company"})
    ).json()
    return answer


async def by_directory(site: RoadSite, slapd: Directory) -> None:
    """Let the site's people log in by a directory, and as local users."""
    await site.put("Credential", "directory", {"secret": SERVICE_PASSWORD})
    spec = {"providers": ["ldap", "local"], "ldap": dict(slapd.settings())}
    await site.put("AuthenticationPolicy", "login", spec)


async def bob_at(site: RoadSite) -> Client:
    client = Client(site.url, ca=site.ca)
    while True:
        try:
            await client.login("bob", PASSWORDS["bob"])
        except HanseError as exc:
            # The policy has not been heard of yet.
            assert exc.code == "wrong_credentials"  # noqa: PT017
        else:
            return client


async def test_a_person_logged_out_at_the_fsm_is_out_at_a_site(
    fsm: FSM, site: RoadSite, slapd: Directory
) -> None:
    await by_directory(site, slapd)
    async with await bob_at(site) as bob:
        assert (await bob.whoami()).identity == "user:bob"
        # He has no login at the FSM itself.
        assert await revoke(fsm, "Bob") == {"sessions": 0, "tokens": 0}
        assert await until_ended(bob) == "token_revoked"
    # The site's own people stay, and bob may come again: his account isn't disabled.
    assert (await site.api.whoami()).identity == "user:admin"
    async with await bob_at(site) as bob:
        assert (await bob.whoami()).identity == "user:bob"
        reasons = {each.reason async for each in site.api.audit(text="revoked")}
        assert "user:bob: the FSM has revoked his logins" in reasons


async def test_regression_a_person_was_logged_out_at_sites_but_not_where_it_was_said(
    fsm: FSM, site: RoadSite
) -> None:
    assert fsm.federation is not None
    async with Client(fsm.url, ca=site.ca) as admin:
        await admin.login("admin", PASSWORD)
        # Sites don't mind the spelling, and the FSM must not either.
        assert (await revoke(fsm, "ADMIN"))["sessions"] >= 1
        assert await until_ended(admin) == "token_revoked"


async def test_regression_who_may_revoke_in_a_region_ended_logins_everywhere(
    fsm: FSM, site: RoadSite
) -> None:
    admin = fsm.admin().client
    account = document("ServiceAccount", "west", {})
    await admin.put("/api/v1/serviceaccounts/west", account)
    binding = {
        "role": "site-operator",
        "scopes": ["region/west"],
        "subjects": [{"kind": "ServiceAccount", "name": "west"}],
    }
    await admin.put("/api/v1/rolebindings/west", document("RoleBinding", "west", binding))
    given = await admin.post("/api/v1/serviceaccounts/west/tokens", {})
    token = given.json()["token"]
    with pytest.raises(Forbidden, match="scope federation"):
        await fsm.visitor(lambda: token).post("/api/v1/users/admin/revoke", {})
    assert (await site.api.whoami()).identity == "user:admin"


async def test_a_site_that_was_cut_off_ends_logins_once_it_is_back(
    fsm: FSM, site: RoadSite, slapd: Directory
) -> None:
    await by_directory(site, slapd)
    site.wire.cut()
    await revoke(fsm, "bob")
    async with await bob_at(site) as bob:
        assert (await bob.whoami()).identity == "user:bob"
        site.wire.mend()
        assert await until_ended(bob) == "token_revoked"


async def test_a_sites_local_user_of_the_same_name_is_somebody_else(
    fsm: FSM, site: RoadSite, slapd: Directory
) -> None:
    await by_directory(site, slapd)
    async with await bob_at(site) as bob:
        # This ends the FSM's own admin, and all that the directory calls admin.
        await revoke(fsm, "admin")
        await revoke(fsm, "bob")
        assert await until_ended(bob) == "token_revoked"
    assert (await site.api.whoami()).identity == "user:admin"
