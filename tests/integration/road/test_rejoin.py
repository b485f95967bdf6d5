"""What a site does when its FSM has forgotten something, or everything since some day."""

import asyncio
import io
import shutil
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from shared.cli.contexts import VARIABLE
from shared.cli.main import run
from shared.errors import RevisionCompacted
from shared.ids import Revision
from shared.store.sql import open_store
from tests.integration.fsm.harness import FSM, PASSWORD
from tests.integration.road.world import MANDATORY, RoadSite, declare, joined

TO_W1 = {"from": "192.0.2.1", "to": "10.0.0.5", "protocol": "tcp", "port": 443}
MANY = {
    "enforcement": "mandatory",
    "rules": [
        {"name": f"r{port}", "from": "any", "to": [{"network": "A"}], "action": "deny",
         "services": [{"protocol": "tcp", "ports": [port]}]}
        for port in range(1000, 1012)
    ],
}  # fmt: skip


def rules(resolved: dict[str, Any]) -> set[str]:
    return {rule["policy"] for rule in resolved["rules"]}


@pytest.mark.parametrize("how", ["from an older copy", "with nothing but the sites"])
async def test_after_its_fsm_was_restored_a_site_enforces_all_it_had(
    stopped: FSM, tmp_path: Path, how: str
) -> None:
    copy = tmp_path / "copy"
    async with AsyncExitStack() as stack:
        async with stopped.serving():
            await declare(stopped.admin())
            site = await stack.enter_async_context(joined(tmp_path, stopped))
        shutil.copytree(stopped.data, copy, symlinks=True)
        async with stopped.serving(), site.serving():
            await stopped.admin().put("securitypolicies", "since", MANDATORY)
            before = await site.until(lambda found: len(found["policies"]) == 2)
            await site.populate()

        shutil.rmtree(stopped.data)
        copy.rename(stopped.data)
        if how == "with nothing but the sites":
            for each in stopped.data.glob("fsm.sqlite*"):
                each.unlink()
            url = stopped.settings.database_url(stopped.data)
            await (await open_store(url, clock=stopped.clock, create=True)).close()
            missing = {"p", "since", "A"}
        else:
            missing = {"since"}
        async with stopped.serving(), site.serving():
            if "A" in missing:
                await stopped.admin().put("sites", "sfo", {})
            status = await site.until(lambda found: bool(found["held"]))
            assert {each["name"] for each in status["held"]} == missing
            assert {each["cause"] for each in status["held"]} == {"missing"}
            assert rules(await site.api.resolve()) == {"p", "since"}
            assert (await site.api.trace(TO_W1))["outcome"] == "allow"
            after = status["upstream"]["position"]["incarnation"]
            again = before["upstream"]["position"]["incarnation"]
            assert (after != again) == ("A" in missing)

            # What is new applies; what is held stays, until a person decides.
            if "A" in missing:
                await stopped.admin().put("networks", "A", {})
            await stopped.admin().put("securitypolicies", "new", MANDATORY)
            await site.until(lambda found: len(found["policies"]) == 3)
            assert rules(await site.api.resolve()) == {"p", "since", "new"}
            admin = stopped.admin()
            while not (await admin.status())["sites"][0]["held"]:
                pass


async def test_a_site_that_missed_a_compaction_lists_again(fsm: FSM, site: RoadSite) -> None:
    site.wire.cut()
    await site.until(lambda found: not found["upstream"]["connected"])
    before = (await site.api.status())["upstream"]["position"]["revision"]
    admin = fsm.admin()
    await admin.put("securitypolicies", "new", MANDATORY)
    await admin.put("securitypolicies", "short", MANDATORY)
    await admin.delete("securitypolicies", "short")
    await admin.delete("securitypolicies", "p")
    store = fsm.running.store
    await store.compact((await store.position()).revision)
    with pytest.raises(RevisionCompacted):
        await anext(aiter(store.watch(Revision(before))))
    site.wire.mend()
    status = await site.until(lambda found: [each["name"] for each in found["policies"]] == ["new"])
    # That p was deleted was said, by its tombstone: nothing is held.
    assert status["held"] == []


async def test_a_large_removal_is_held_until_a_person_drops_it(
    fsm: FSM,
    site: RoadSite,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    admin = fsm.admin()
    await admin.put("securitypolicies", "many", MANY)
    await site.populate()
    await site.until(lambda found: len(found["policies"]) == 2)
    await admin.delete("securitypolicies", "many")
    status = await site.until(lambda found: bool(found["held"]))
    (held,) = status["held"]
    assert (held["name"], held["cause"], held["reason"]) == ("many", "large_removal", "deleted")
    assert len((await site.api.resolve())["rules"]) == 13

    monkeypatch.setenv(VARIABLE, str(tmp_path / "contexts.yaml"))
    monkeypatch.setenv("HANSE_PASSWORD", PASSWORD)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "root.pem").write_text(site.ca)

    async def hanse(*words: str) -> str:
        status = await asyncio.to_thread(run, words)
        out, err = capsys.readouterr()
        assert status == 0, err
        return out

    await hanse("login", site.url, "--user", "admin", "--ca", str(tmp_path / "root.pem"))
    assert "large_removal" in await hanse("held")
    dropped = await hanse("held", "drop", "SecurityPolicy/many", "--reason", "seen", "--yes")
    assert "Dropped 1: SecurityPolicy many" in dropped
    await site.until(lambda found: [each["name"] for each in found["policies"]] == ["p"])
    assert len((await site.api.resolve())["rules"]) == 1
    (record,) = [each async for each in site.api.audit(text="held.drop")]
    assert record.reason == "seen"
