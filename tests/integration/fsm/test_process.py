"""`hanse fsm` as a process: prepared, served, stopped."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shared.errors import Unauthenticated
from shared.http.peer import PeerClient
from tests.servers import free_port

PASSWORD = "correct horse battery"
COMMAND = (sys.executable, "-m", "fsm")


async def run(*arguments: str, **environ: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environ},
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "serve",
        "--data",
        str(data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        assert "serving at https://" in line, line
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def prepare(data: Path) -> str:
    port = free_port()
    code, output = await run(
        "init",
        *("--data", str(data), "--trust-domain", "hanse.example"),
        *("--listen", f"127.0.0.1:{port}"),
        HANSE_ADMIN_PASSWORD=PASSWORD,
    )
    assert code == 0, output
    return f"https://localhost:{port}"


def client(url: str, data: Path) -> PeerClient:
    """Call as a person would who was given the root's file."""
    return PeerClient([url], tls=ssl.create_default_context(cafile=str(data / "root.pem")))


async def login(url: str, data: Path, password: str = PASSWORD) -> str:
    caller = client(url, data)
    try:
        body = {"username": "admin", "password": password}
        return str((await caller.post("/api/v1/login", body)).json()["accessToken"])
    finally:
        await caller.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_and_stops_when_it_is_asked_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    data = tmp_path / "fsm"
    url = await prepare(data)
    async with served(data) as process:
        assert await login(url, data)
        with pytest.raises(Unauthenticated):
            await login(url, data, "another password")
        process.send_signal(number)
        async with asyncio.timeout(15):
            assert await process.wait() == 0


async def test_a_killed_one_comes_back_with_what_it_had(tmp_path: Path) -> None:
    data = tmp_path / "fsm"
    url = await prepare(data)
    async with served(data) as process:
        token = await login(url, data)
        caller = PeerClient(
            [url],
            tls=ssl.create_default_context(cafile=str(data / "root.pem")),
            token=lambda: token,
        )
        site = {"apiVersion": "hanse/v1", "kind": "Site", "metadata": {"name": "sfo"}, "spec": {}}
        await caller.put("/api/v1/sites/sfo", site)
        process.kill()
        await process.wait()
    async with served(data):
        # The token key is kept too: who was logged in still is.
        found = (await caller.get("/api/v1/sites/sfo")).json()
        assert found["metadata"]["name"] == "sfo"
        await caller.close()


async def test_init_prepares_once_and_keeps_keys_to_their_owner(tmp_path: Path) -> None:
    data = tmp_path / "fsm"
    await prepare(data)
    secret = [*data.glob("pki/*/current/key.pem"), *data.glob("*.sqlite"), data / "settings.yaml"]
    assert len(secret) == 5
    assert all(path.stat().st_mode & 0o077 == 0 for path in [*secret, data])

    arguments = ("init", "--data", str(data), "--trust-domain", "hanse.example")
    code, output = await run(*arguments, HANSE_ADMIN_PASSWORD=PASSWORD)
    assert code == 2
    assert "prepared already" in output


async def test_a_password_is_made_and_told_once_if_none_is_given(tmp_path: Path) -> None:
    data = tmp_path / "fsm"
    environ = {"HANSE_ADMIN_PASSWORD": ""}
    code, output = await run(
        *("init", "--data", str(data), "--trust-domain", "hanse.example"), **environ
    )
    assert code == 0, output
    [line] = [each for each in output.splitlines() if each.startswith("Password")]
    password = line.partition(": ")[2]
    assert len(password) >= 20
    assert not any(password in path.read_text("latin-1") for path in data.glob("*.*"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--trust-domain", "Not A Domain"), "no trust domain"),
        (("--trust-domain", "hanse.example", "--listen", "nowhere"), "no address to serve at"),
        (("--trust-domain", "hanse.example", "--name", "*.x"), "no host's name"),
    ],
)
async def test_a_bad_argument_is_refused_and_nothing_is_left_half_made(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    data = tmp_path / "fsm"
    code, output = await run("init", "--data", str(data), *arguments, HANSE_ADMIN_PASSWORD=PASSWORD)
    assert code == 2
    assert complaint in " ".join(output.split())
    assert not (data / "settings.yaml").exists()
