from pathlib import Path

import pytest
from pydantic import Field

from shared.errors import Invalid
from shared.settings import Settings, load_settings


class Listen(Settings):
    host: str = "127.0.0.1"
    port: int = Field(8443, ge=0, le=65535)


class Example(Settings):
    listen: Listen = Listen()
    server_names: tuple[str, ...] = ()
    database: str | None = None
    verbose: bool = False


def load(tmp_path: Path, text: str | None = None, **environ: str) -> Example:
    file = None
    if text is not None:
        file = tmp_path / "settings.yaml"
        file.write_text(text)
    return load_settings(Example, file=file, environ=environ, prefix="HANSE_FSM_")


def faults(tmp_path: Path, text: str | None = None, **environ: str) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        load(tmp_path, text, **environ)
    assert caught.value.code == "invalid_settings"
    return [(fault.path, fault.code) for fault in caught.value.fields]


def test_what_is_not_set_has_its_default(tmp_path: Path) -> None:
    assert load(tmp_path) == Example()
    assert load(tmp_path, "") == Example()
    assert load(tmp_path, "# nothing\n", OTHER="x") == Example()


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    text = "listen: {host: 0.0.0.0, port: 1}\nserverNames: [a]\nverbose: false\n"
    settings = load(
        tmp_path,
        text,
        HANSE_FSM_LISTEN__PORT="9443",
        HANSE_FSM_SERVER_NAMES='["b", "c"]',
        HANSE_FSM_VERBOSE="true",
        HANSE_FSM_DATABASE="sqlite:///x",
    )
    assert settings.listen == Listen(host="0.0.0.0", port=9443)
    assert settings.server_names == ("b", "c")
    assert settings.verbose is True
    assert settings.database == "sqlite:///x"


def test_unknown_and_wrong_settings_are_named_all_at_once(tmp_path: Path) -> None:
    text = "listn: {}\nlisten: {prot: 1, port: 70000}\n"
    assert set(faults(tmp_path, text, HANSE_FSM_LISTEN__HOTS="x", HANSE_FSM_X="1")) == {
        ("listn", "unknown_setting"),
        ("listen.prot", "unknown_setting"),
        ("listen.port", "invalid_value"),
        ("HANSE_FSM_LISTEN__HOTS", "unknown_setting"),
        ("HANSE_FSM_X", "unknown_setting"),
    }


def test_a_setting_without_parts_is_not_entered(tmp_path: Path) -> None:
    assert faults(tmp_path, HANSE_FSM_VERBOSE__X="1") == [
        ("HANSE_FSM_VERBOSE__X", "unknown_setting")
    ]
    assert faults(tmp_path, "listen: 5", HANSE_FSM_LISTEN__PORT="no") == [
        ("listen.port", "invalid_value")
    ]


@pytest.mark.parametrize(
    "text",
    ["- a", "a: [", "verbose: true\nverbose: false", "!!python/object:os.system x", "[" * 5000],
)
def test_a_broken_file_is_an_error_with_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(Invalid, match=r"settings\.yaml"):
        load(tmp_path, text)


def test_a_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="nowhere"):
        load_settings(Example, file=tmp_path / "nowhere", environ={}, prefix="X_")
