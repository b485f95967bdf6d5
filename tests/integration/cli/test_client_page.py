"""The code blocks of the client's page, run one after another as in `python -m asyncio`."""

import ast
import inspect
import re
import textwrap
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from shared.cli import client as module
from shared.cli.client import Client
from tests.integration.cli.background import Place, fsm_running, prepare_fsm

PAGE = (files("shared") / "docs" / "client.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def own_fsm(tmp_path: Path) -> Any:
    place = prepare_fsm(tmp_path)
    with fsm_running(place):
        yield place


async def run_block(text: str, names: dict[str, Any]) -> None:
    code = compile(text, "client.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    outcome = eval(code, names)
    if inspect.isawaitable(outcome):
        await outcome


def here(text: str, place: Place) -> str:
    return text.replace("https://fsm.example:8443", place.url).replace("root.pem", str(place.ca))


async def test_the_page_works_as_written(
    own_fsm: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(BLOCKS) >= 5
    names: dict[str, Any] = {}
    for block in BLOCKS:
        await run_block(here(block, own_fsm), names)
    shown = capsys.readouterr().out
    for part in (
        "there is no SecurityPolicy absent (federation) not_found ['request id: ",
        "somebody was faster; read it again",
        "[('Cache2', True, True), ('Cache', False, True)]",
        "operations[1].object.spec.subnet unknown_field",
        " put Cache",
        "user:admin create ok",
    ):
        assert part in shown


async def test_the_modules_own_example_works(own_fsm: Place) -> None:
    async with own_fsm.client() as client:
        await client.login("admin", "correct horse battery")
        for document in (
            {"kind": "Site", "metadata": {"name": "sfo", "labels": {"env": "prod"}}, "spec": {}},
            {
                "kind": "SecurityPolicy",
                "metadata": {"name": "three-tier"},
                "spec": {"rules": [{"name": "a", "from": "any", "to": "any", "action": "allow"}]},
            },
        ):
            await client.put({"apiVersion": "hanse/v1", **document})
        example = (module.__doc__ or "").split("\n\n")[1]
        text = textwrap.dedent(here(example, own_fsm)).replace(
            "password)", "'correct horse battery')"
        )
        await run_block(text, {"Client": Client, "Path": Path})
        assert (await client.get("SecurityPolicy", "three-tier")).spec["priority"] == 50
