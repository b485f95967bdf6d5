"""An agent's whole life as a process, on the simulated data plane."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.pki.credentials import CredentialsDirectory
from tests.contract.dataplanes import configuration, make_rule, make_service, set_id
from tests.contract.frames import TCP
from tests.fakes.federation import Federation
from tests.integration.dsn.site import NODE, Site, agent, command, serving

HTTP = make_rule("http", "allow", destination=set_id(1), services=make_service(TCP, 80))
WANTED = configuration(HTTP, _1=("10.1.0.0/24",))
LESS = configuration()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    with socket.socket() as listener:
        async with serving(Site(), listener) as started:
            yield started


@pytest.fixture
async def data(site: Site, tmp_path: Path) -> Path:
    """Return the folder of a node that has joined."""
    folder = tmp_path / "node"
    status, output = await join(site, folder)
    assert status == 0, output
    return folder


async def join(site: Site, folder: Path, *more: str, token: str | None = None) -> tuple[int, str]:
    return await command(
        *("join", "--server", site.url, "--token", token or site.token(), "--data", str(folder)),
        *more,
    )


async def ask(data: Path, **packet: Any) -> dict[str, Any]:
    """Ask a running agent's simulation for a verdict."""
    listener = json.loads(await asyncio.to_thread((data / "simulation.json").read_bytes))
    reader, writer = await asyncio.open_connection(listener["host"], listener["port"])
    writer.write(json.dumps(packet).encode() + b"\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return json.loads(answer)


async def test_a_node_joins_enforces_and_reports(site: Site, data: Path) -> None:
    wanted = site.publish(WANTED)
    with agent(data, plane="memory"):
        report = await site.acknowledged(wanted)
        assert (report["generation"], report["dataPlane"]) == (1, "memory")
        changed = site.publish(LESS)
        assert (await site.acknowledged(changed))["generation"] == 2


async def test_what_joining_leaves_is_for_nobody_else(data: Path) -> None:
    assert data.stat().st_mode & 0o077 == 0
    key = data / "credentials" / "current" / "key.pem"
    assert key.stat().st_mode & 0o077 == 0


async def test_a_configuration_of_a_later_version_is_refused_and_the_last_good_one_stays(
    site: Site, data: Path
) -> None:
    good = site.publish(WANTED)
    with agent(data, plane="memory", simulation_port="0"):
        await site.acknowledged(good)

        site.publish(configuration(make_rule("mirror", "mirror")))
        report = await site.reported(lambda each: each["outcome"] == "nack")

        assert report["code"] == "unsupported_field"
        assert (report["generation"], report["hash"]) == (2, good)
        verdict = await ask(data, **{"from": "10.9.0.1"}, to="10.1.0.7", protocol="tcp", port=80)
        assert verdict == {"verdict": "allow", "reason": "rule", "rule": HTTP.id}
        # The next sound one is taken again.
        assert (await site.acknowledged(site.publish(LESS)))["generation"] == 3


async def test_a_configuration_that_cannot_be_enforced_is_refused(site: Site, data: Path) -> None:
    good = site.publish(WANTED)
    with agent(data, plane="memory"):
        await site.acknowledged(good)
        site.publish(configuration(make_rule("r", "allow", source=set_id(9))))
        report = await site.reported(lambda each: each["outcome"] == "nack")
    assert (report["code"], report["hash"]) == ("invalid_configuration", good)


async def test_a_node_restarted_while_its_site_is_away_enforces_the_last_good_one(
    site: Site, data: Path
) -> None:
    wanted = site.publish(WANTED)
    with agent(data, plane="memory") as process:
        await site.acknowledged(wanted)
        process.signal(signal.SIGKILL)
        await process.wait()

    identity = json.loads((data / "identity.json").read_text())
    # Nobody listens there.
    (data / "identity.json").write_text(json.dumps(identity | {"servers": ["https://127.0.0.1:9"]}))
    with agent(data, plane="memory", simulation_port="0"):
        packet = {"from": "10.9.0.1", "to": "10.1.0.7", "protocol": "tcp"}
        while not (data / "simulation.json").exists():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
        assert (await ask(data, **packet, port=80))["verdict"] == "allow"
        assert (await ask(data, **packet, port=81))["verdict"] == "deny"


async def test_a_restored_site_is_found_again_and_followed(tmp_path: Path) -> None:
    site, data = Site(), tmp_path / "node"
    restored = Site(incarnation="restored", like=site)
    with socket.socket() as listener:
        async with serving(site, listener):
            assert (await join(site, data))[0] == 0
            for each in (WANTED, LESS, WANTED):
                wanted = site.publish(each)
            with agent(data, plane="memory"):
                assert (await site.acknowledged(wanted))["generation"] == 3
                await site.stop()
                # At the same place, and counting from the beginning.
                restored.port = site.port
                content = restored.publish(LESS)
                with socket.socket() as another:
                    async with serving(restored, another):
                        report = await restored.acknowledged(content)
    assert (report["incarnation"], report["generation"]) == ("restored", 1)


async def test_a_terminated_agent_ends_well(site: Site, data: Path) -> None:
    wanted = site.publish(WANTED)
    with agent(data, plane="memory", simulation_port="0") as process:
        await site.acknowledged(wanted)
        process.signal(signal.SIGTERM)
        status, output = await process.wait()
    assert status == 0, output
    assert "Traceback" not in output
    assert not (data / "simulation.json").exists()


async def test_two_agents_do_not_share_a_folder(site: Site, data: Path) -> None:
    wanted = site.publish(WANTED)
    with agent(data, plane="memory"):
        await site.acknowledged(wanted)
        status, output = await command("run", "--data", str(data), "--data-plane", "memory")
    assert status == 2
    assert "another agent runs" in output


async def test_an_agent_that_has_not_joined_says_how(tmp_path: Path) -> None:
    status, output = await command("run", "--data", str(tmp_path))

    assert status == 2
    assert "hanse dsn join" in output
    assert "Traceback" not in output


async def test_joining_twice_needs_a_word(site: Site, data: Path) -> None:
    before = CredentialsDirectory(data / "credentials").load().certificate

    status, output = await join(site, data)
    assert status == 2
    assert "--replace" in output
    assert CredentialsDirectory(data / "credentials").load().certificate == before

    status, _ = await join(site, data, "--replace")
    assert status == 0
    assert CredentialsDirectory(data / "credentials").load().certificate != before


async def test_a_token_of_another_federation_is_never_sent(site: Site, tmp_path: Path) -> None:
    other = Site()
    assert isinstance(other.federation, Federation)

    status, output = await join(site, tmp_path / "node", token=other.token())

    assert status == 2
    assert "nothing was sent" in " ".join(output.split())
    assert not (tmp_path / "node" / "identity.json").exists()


@pytest.mark.parametrize("token", ["", "hanse-join-1.node.sfo", "x" * 400])
async def test_what_is_no_token_is_said_so(site: Site, tmp_path: Path, token: str) -> None:
    status, output = await command(
        *("join", "--server", site.url, "--data", str(tmp_path / "node"), f"--token={token}")
    )
    assert status == 2
    assert "Traceback" not in output


async def test_a_site_that_is_not_there_is_exit_status_3(tmp_path: Path) -> None:
    token = Site().token()
    status, output = await command(
        *("join", "--server", "https://127.0.0.1:9", "--token", token),
        *("--data", str(tmp_path / "node")),
    )
    assert status == 3
    assert "does not answer" in output


async def test_the_token_can_come_by_standard_input(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "dsn",
            "join",
            "--server",
            site.url,
            "--token",
            "-",
            "--data",
            str(folder),
        ),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(site.token().encode() + b"\n")

    assert process.returncode == 0
    assert NODE in output.decode()
