"""diff --impact and apply --base, --confirm: look at what a draft does, and write just that."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.cli.answers import Base
from shared.cli.client import Client
from shared.errors import Invalid
from tests.integration.cli.background import (
    PASSWORD,
    Place,
    fsm_running,
    prepare_fsm,
    prepare_site,
    site_running,
)
from tests.integration.cli.conftest import Hanse

Documents = Callable[[str], Path]


@pytest.fixture(scope="module")
def fsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An FSM of this module's own, which may call sites on this machine."""
    place = prepare_fsm(tmp_path_factory.mktemp("asking"))
    with (place.data / "settings.yaml").open("a") as file:
        file.write("\nsites: {networks: [127.0.0.0/8]}\n")
    with fsm_running(place):
        yield place


@pytest.fixture(scope="module")
def site(fsm: Place) -> Iterator[Place]:
    """Its site sfo, which can be asked, with network A."""
    place = prepare_site(fsm.data.parent, "sfo", fsm)
    with site_running(place):
        asyncio.run(_declare(fsm, place))
        yield place


async def _declare(fsm: Place, site: Place) -> None:
    async with fsm.client() as client:
        await client.login("admin", PASSWORD)
        endpoint = f"https://127.0.0.1:{urlsplit(site.url).port}"
        await client.patch("Site", "sfo", {"spec": {"endpoint": endpoint}})
        await client.put(_document("Site", "lost"))
        await client.put(_document("Network", "A"))
        binding = {"role": "global-admin", "flowsDown": True}
        subjects = [{"kind": "User", "name": "admin"}]
        document = _document("RoleBinding", "admins")
        await client.put({**document, "spec": {**binding, "subjects": subjects}})
        position = (await client.base("Network")).revision
    async with site.client(identity="spiffe://sfo.hanse.example/sdsp") as client:
        await client.login("admin", PASSWORD)
        while not await _has(client, position):
            pass
        await client.put({**_document("Network", "A"), "spec": {"subnets": ["10.0.0.0/24"]}})


async def _has(client: Client, revision: int) -> bool:
    position = (await client.status())["upstream"]["position"]
    return bool(position and position["revision"] >= revision)


def _document(kind: str, name: str) -> dict[str, object]:
    return {"apiVersion": "hanse/v1", "kind": kind, "metadata": {"name": name}, "spec": {}}


def policy(name: str, port: int) -> str:
    return f"""\
apiVersion: hanse/v1
kind: SecurityPolicy
metadata: {{name: {name}}}
spec:
  enforcement: mandatory
  rules:
    - name: r
      from: any
      to: [{{network: A}}]
      services: [{{protocol: tcp, ports: ["{port}"]}}]
      action: allow
---
"""


def test_diff_says_what_a_draft_would_do_at_each_site_and_who_is_missing(
    logged_in: Hanse, documents: Documents
) -> None:
    draft = documents(policy("impact", 22))
    done = logged_in("diff", "-f", draft, "--impact")
    assert done.status == 1, done.err
    assert "\nsfo\n" in done.out
    assert f"would newly allow {2**32 * 256 * 65536:,} packets" in done.out
    assert "\nlost\n" in done.out
    assert "not known (unreachable): the Site lost says no endpoint" in done.out
    assert "1 of 2 sites answered; verdicts change at 1." in done.out
    assert "Missing: lost (unreachable)." in done.out
    assert "hanse apply --base" in done.err

    done = logged_in("diff", "-f", draft, "--impact", "-o", "json", "--sites", "env=prod")
    assert done.status == 1
    said = json.loads(done.out)
    assert said["impact"]["partial"] is False
    assert [each["site"] for each in said["impact"]["sites"]] == ["sfo"]
    assert said["differences"][0]["name"] == "impact"
    assert Base.parse(said["base"]).revision > 0


def test_exit_status_tells_a_missing_site_where_it_matters(
    logged_in: Hanse, documents: Documents
) -> None:
    draft = documents(policy("missing", 23))
    done = logged_in("diff", "-f", draft, "--impact", "--require-all")
    assert done.status == 3
    assert "sites_missing" in done.err
    done = logged_in("diff", "-f", draft, "--impact", "--sites", "!env")
    assert done.status == 3
    assert "no_site_answered" in done.err
    done = logged_in("diff", "-f", draft, "--impact", "--sites", "env=none")
    assert done.status == 1
    assert "No site is concerned" in done.out
    assert logged_in("diff", "-f", draft, "--sites", "env=prod").status == 2
    assert logged_in("diff", "-f", draft, "--impact", "--deadline", "soon").status == 2
    assert logged_in("diff", "-f", draft, "--impact", "-c", "sfo").status == 2


def test_apply_holds_to_the_base_that_diff_says(logged_in: Hanse, documents: Documents) -> None:
    draft = documents(policy("held", 24))
    base = json.loads(logged_in("diff", "-f", draft, "-o", "json").out)["base"]
    assert logged_in("apply", "-f", draft, "--base", base).status == 0
    changed = documents(policy("held", 25))
    done = logged_in("apply", "-f", changed, "--base", base)
    assert done.status == 2
    assert "base_moved" in done.err
    assert "SecurityPolicy held (federation) was changed by user:admin" in done.err
    assert logged_in("apply", "-f", changed, "--base", "yesterday").status == 2
    assert logged_in("diff", "-f", changed).status == 1, "nothing of it was written"


def test_apply_asks_after_showing_what_it_does(logged_in: Hanse, documents: Documents) -> None:
    draft = documents(policy("asked", 26))
    done = logged_in("apply", "-f", draft, "--confirm")
    assert (done.status, "needs_confirmation" in done.err) == (2, True)
    done = logged_in("apply", "-f", draft, "--confirm", "--impact", "--yes")
    assert done.status == 0, done.err
    assert "would newly allow" in done.out
    assert "securitypolicy/asked created" in done.out
    done = logged_in("apply", "-f", draft, "--confirm", "--yes")
    assert (done.status, "nothing to do" in done.err) == (0, True)
    assert logged_in("apply", "-f", draft, "--impact").status == 2


@pytest.mark.parametrize("text", ["", "x", "-1", "1042x", "9" * 30])
def test_a_base_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Base.parse(text)


def test_a_base_is_said_as_it_is_read() -> None:
    base = Base(1042, "1f0c2e7a-aaaa")
    assert str(base) == "1042@1f0c2e7a"
    assert Base.parse(str(base)) == Base(1042, "1f0c2e7a")
