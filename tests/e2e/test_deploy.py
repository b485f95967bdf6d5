"""What deploy/ offers works: units that systemd takes, commands that exist, settings that load."""

import os
import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dsn.settings import load_settings_of as load_dsn
from fsm.settings import load as load_fsm
from sdsp.settings import load as load_sdsp
from shared.errors import HanseError
from tests.e2e.by_hand import ROOT
from tests.e2e.hosts import Host, Running
from tests.integration.fsm.harness import FSM
from tests.servers import require

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HANSE = Path(sys.executable).with_name("hanse")
# systemd's own scale goes from 0 to 10, given to it in tenths.
EXPOSURE = 20

units = pytest.mark.parametrize("unit", UNITS, ids=[each.stem for each in UNITS])


def service(unit: Path) -> dict[str, list[str]]:
    """Return the settings of the section Service; one that stands twice has two values."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, check=False, text=True
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


@units
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    # Only the program's place is another on this machine.
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/hanse/bin/hanse", str(HANSE)))
    # What it doesn't know it only warns of.
    assert unit.name not in analyze("verify", "--man=no", str(copy))


@units
def test_a_unit_exposes_little(unit: Path) -> None:
    analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(unit))


@units
def test_a_unit_runs_a_command_that_there_is_in_its_own_folder(unit: Path, tmp_path: Path) -> None:
    settings = service(unit)
    (command,) = settings["ExecStart"]
    program, *arguments = command.split()
    assert program == "/opt/hanse/bin/hanse"
    (folder,) = settings["StateDirectory"]
    assert f"/var/lib/{folder}" in arguments
    assert settings["User"] == ["hanse"]
    done = Host(tmp_path).run(*(each.replace("/var/lib", str(tmp_path)) for each in arguments))
    assert done.status == 2
    # It is understood, and says what is to be done first.
    assert "run first: hanse" in done.err or "then run:" in done.err or "run: hanse" in done.err


def test_a_server_tells_systemd_when_it_is_up(stopped: FSM, tmp_path: Path) -> None:
    (stopped.data / "settings.yaml").write_text("listen: {port: 0}\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        # A socket's path has at most 107 bytes.
        place = os.path.relpath(tmp_path / "notify")
        notified.bind(place)
        log = tmp_path / "fsm.log"
        command = [sys.executable, "-m", "shared.cli", "fsm", "serve", "--data", str(stopped.data)]
        running = Running(command, environ={"NOTIFY_SOCKET": place}, log=log)
        try:
            assert notified.recv(1000).startswith(b"READY=1\n")
        finally:
            assert running.end() == 0


@pytest.mark.kernel
def test_an_agent_needs_no_more_of_its_host_than_net_admin() -> None:
    require("ip", "nft", root=True)
    (settings,) = [service(each) for each in UNITS if each.stem == "hanse-dsn"]
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == ["CAP_NET_ADMIN"]
    assert settings["MemoryDenyWriteExecute"] == ["yes"]
    namespace = f"hanse-{random.SystemRandom().randrange(16**6):06x}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        done = subprocess.run(
            [
                "ip",
                "netns",
                "exec",
                namespace,
                sys.executable,
                "-m",
                "tests.e2e.unprivileged_plane",
            ],
            capture_output=True,
            check=False,
            text=True,
            cwd=ROOT,
        )
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=True)
    assert done.stdout == "enforced by uid 65534\n", done.stderr


@pytest.mark.parametrize(
    "file", sorted((DEPLOY / "settings").iterdir()), ids=lambda each: each.stem
)
def test_the_example_settings_load(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "settings.yaml")
    program, _, database = file.stem.partition("-")
    load: Any = {"fsm": load_fsm, "sdsp": load_sdsp, "dsn": load_dsn}[program]
    settings = load(tmp_path, {})
    if program != "dsn":
        assert settings.database_url(tmp_path).startswith(database or "sqlite")
    # A setting that is mistyped stops the start.
    (tmp_path / "settings.yaml").write_text(file.read_text() + "mistyped: 1\n")
    with pytest.raises(HanseError) as refused:
        load(tmp_path, {})
    assert refused.value.fields[0].path == "mistyped"
