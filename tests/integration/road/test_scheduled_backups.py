"""A BackupPolicy of the federation, made by a site on its own schedule, and told upwards."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.backup.archive import opened
from shared.backup.settings import BackupSettings
from shared.cli.affairs import print_affairs, print_backups
from tests.integration.fsm.harness import FSM
from tests.integration.road.world import HurriedClock, declare, document, joined

EVERY_MINUTE = {
    "enforcement": "mandatory",
    "schedule": "* * * * *",
    "timezone": "Europe/Berlin",
    "retain": 1,
    "destination": "offsite",
}


async def test_a_global_backup_policy_is_carried_out_by_its_sites_and_told_upwards(
    stopped: FSM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offsite = tmp_path / "offsite"
    clock = HurriedClock()
    async with stopped.serving():
        admin = stopped.admin()
        await declare(admin)
        elsewhere = {**EVERY_MINUTE, "sites": {"matchLabels": {"env": "test"}}}
        for name, spec in (("often", EVERY_MINUTE), ("elsewhere", elsewhere)):
            policy = document("BackupPolicy", name, spec)
            await admin.client.put(f"/api/v1/backuppolicies/{name}", policy)
        async with joined(tmp_path, stopped, clock=clock) as site:
            site.settings = site.settings.model_copy(
                update={"backup": BackupSettings(destinations={"offsite": offsite})}
            )
            async with site.serving():
                # A site's own policy of that name doesn't count against a mandatory one.
                await site.heard(stopped)
                await site.put("BackupPolicy", "often", {"schedule": "0 0 1 1 *"})

                # The folder isn't there: it fails, and people see it at the site and on the FSM.
                async def state(wanted: str) -> dict[str, Any]:
                    def holds(status: dict[str, Any]) -> bool:
                        (found,) = status["backups"] or [{"state": None}]
                        return bool(found["state"] == wanted)

                    status = await site.until(holds)
                    return dict(status["backups"][0])

                assert (await state("waiting"))["schedule"] == "* * * * *"
                clock.ahead += timedelta(seconds=90)
                shown = await state("failing")
                assert (shown["policy"], shown["code"]) == (
                    "often",
                    "backup_destination_unavailable",
                )
                print_affairs(await site.api.status(), clock)
                printed = capsys.readouterr().out
                assert "backup.failed" in printed
                assert "backup_destination_unavailable" in printed
                told: list[Any] = []
                while not (told and told[0]["code"]):
                    told = (await admin.status())["sites"][0]["backups"]
                assert told[0].keys() == {"policy", "succeededAt", "failedAt", "code"}
                print_backups(told, clock)
                assert "failing" in capsys.readouterr().out

                # The next run recovers it.
                offsite.mkdir()
                clock.ahead += timedelta(seconds=90)
                shown = await state("good")
                (file,) = offsite.iterdir()
                assert file.name == shown["file"]
                with opened(file) as reader:
                    assert (reader.manifest.name, reader.manifest.policy) == ("sfo", "often")
                while told[0]["code"]:
                    told = (await admin.status())["sites"][0]["backups"]
                assert told[0]["succeededAt"] is not None
