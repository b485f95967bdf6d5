"""What a pull request shows, as recorded; look at the difference before re-recording."""

from pathlib import Path

import pytest

from shared.cli.main import run

HERE = Path(__file__).parent / "cli"

COMMANDS = {
    "validate": (2, ["validate", str(HERE / "broken")]),
    "policy-test": (1, ["policy", "test", str(HERE / "failing")]),
}
FORMS = {"markdown": "md", "junit": "xml"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_as_recorded(
    name: str, form: str, update_golden: bool, tmp_path: Path
) -> None:
    status, arguments = COMMANDS[name]
    written = tmp_path / "summary"
    assert run([*arguments, f"--{form}", str(written)]) == status
    recorded = HERE / f"summary-{name}.{FORMS[form]}"
    if update_golden:
        recorded.write_text(written.read_text())
    assert written.read_text() == recorded.read_text()
