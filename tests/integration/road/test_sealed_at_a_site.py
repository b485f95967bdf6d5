"""Who logs in by the directory at a site, and whether the site's first administrator is sealed then.

FSM, SDSP, their TLS and slapd are real.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.cli.client import Client
from shared.errors import HanseError
from tests.directory import PASSWORDS, SERVICE_PASSWORD, Directory
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.integration.road.test_login_policy import until_ended
from tests.integration.road.world import RoadSite, document

pytestmark = pytest.mark.slapd


async def bind(site: RoadSite, role: str, group: str, **where: Any) -> None:
    """Give the people of a group a role at the site."""
    await site.put("RoleBinding", f"{role}-{group}", {**binding_of(role, group), **where})


def binding_of(role: str, group: str) -> dict[str, Any]:
    return {"role": role, "subjects": [{"kind": "Group", "name": group}]}


async def by_directory(fsm: FSM, site: RoadSite, slapd: Directory) -> None:
    """Let people log in by the directory as well, at every site, as the FSM says."""
    await site.put("Credential", "directory", {"secret": SERVICE_PASSWORD})
    policy = document(
        "AuthenticationPolicy", "login", {"providers": ["ldap", "local"], "ldap": slapd.settings()}
    )
    path = "/api/v1/authenticationpolicies/login"
    await fsm.admin().client.put(path, policy, params={"force": "true"})
    await site.heard(fsm)


@asynccontextmanager
async def entered(site: RoadSite, name: str) -> AsyncIterator[Client]:
    """Log in as somebody of the directory, as soon as the site obeys the policy."""
    async with Client(site.url, ca=site.ca) as client:
        while True:
            try:
                await client.login(name, PASSWORDS[name])
                break
            except HanseError as exc:
                assert exc.code == "wrong_credentials"  # noqa: PT017
        yield client


async def standing(client: Client) -> str:
    """Return how the site's emergency account stands."""
    return str((await client.status())["breakGlass"]["state"])


@pytest.mark.parametrize(
    ("role", "group", "person"),
    [("global-admin", "admins", "alice"), ("site-operator", "operators", "bob")],
    ids=["an administrator, as the FSM says", "an operator, as the site says"],
)
async def test_once_the_directory_runs_a_site_its_first_administrator_is_sealed(
    fsm: FSM, site: RoadSite, slapd: Directory, *, role: str, group: str, person: str
) -> None:
    if role == "global-admin":
        binding = document("RoleBinding", group, {**binding_of(role, group), "flowsDown": True})
        await fsm.admin().client.put(f"/api/v1/rolebindings/{group}", binding)
    else:
        await bind(site, role, group)
    await by_directory(fsm, site, slapd)
    assert await standing(site.api) == "first"
    async with entered(site, person) as by:
        assert (await by.whoami()).roles == (role,)
        assert await until_ended(site.api) == "token_revoked"
        assert await standing(by) == "sealed"
    async with Client(site.url, ca=site.ca) as visitor:
        with pytest.raises(HanseError) as caught:
            await visitor.login("admin", PASSWORD)
        assert caught.value.code == "wrong_credentials"
    # The FSM's own is another account: nobody has administered there yet.
    assert (await fsm.admin().status())["breakGlass"]["state"] == "first"


async def test_whoever_runs_only_a_part_of_a_site_seals_nothing(
    fsm: FSM, site: RoadSite, slapd: Directory
) -> None:
    await bind(site, "viewer", "operators")
    await bind(site, "site-operator", "operators", tenants=["common"])
    await bind(site, "policy-author", "admins")
    await by_directory(fsm, site, slapd)
    for person in ("bob", "alice"):
        async with entered(site, person) as by:
            assert (await by.whoami()).identity == f"user:{person}"
            assert await standing(site.api) == "first"
    async with Client(site.url, ca=site.ca) as visitor:
        await visitor.login("admin", PASSWORD)
        assert (await visitor.whoami()).roles == ("global-admin",)
