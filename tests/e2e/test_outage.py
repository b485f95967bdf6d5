"""The clinics' outage, typed as its page shows, on loopback with real servers and nodes.

What is replaced, and nothing else: the ports, by free ones.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.by_hand import ROOT
from tests.e2e.terminal import Terminal
from tests.servers import free_port
from tests.unit.shared.docs.blocks import blocks

PAGE = ROOT / "examples/outage/README.md"
PORTS = {"FSM_PORT": "8443", "WIRE_PORT": "9443", "KIEL_PORT": "8444", "ULM_PORT": "8445"}


def test_a_clinic_that_is_cut_off_goes_on_and_comes_back_as_the_page_shows(tmp_path: Path) -> None:
    for name in ("clinics", "outage"):
        shutil.copytree(ROOT / "examples" / name, tmp_path / "examples" / name)
    given = {name: str(free_port()) for name in PORTS}
    replaced = {port: given[name] for name, port in PORTS.items()}
    wanted = re.compile("|".join(replaced))
    # The command `hanse`, and Python with what it imports.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, **given, "PATH": path, "COLUMNS": "200"}
    with Terminal(tmp_path, environ) as terminal:
        try:
            for block in blocks(PAGE):
                for command, shown in block.commands() if block.language == "console" else ():
                    expected = wanted.sub(lambda found: replaced[found[0]], shown)
                    terminal.follow(wanted.sub(lambda found: replaced[found[0]], command), expected)
        finally:
            # Nothing is left if the page ended early; else there is nothing to end any more.
            end = ["sh", "examples/outage/down.sh", "lab"]
            subprocess.run(end, check=False, cwd=tmp_path)
    assert not list((tmp_path / "lab").glob("*.pid"))
