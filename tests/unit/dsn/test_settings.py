"""Who a node is, and how it was told to run."""

from pathlib import Path

import pytest

from dsn.settings import Identity, has_joined, load_identity, load_settings_of, save_identity
from shared.errors import Invalid, NotFound

IDENTITY = Identity(
    servers=("https://sdsp:8444",),
    trust_domain="hanse.example",
    site="sfo",
    node="node-1",
    addresses=("192.0.2.7",),
)


def test_the_identity_is_kept(tmp_path: Path) -> None:
    assert not has_joined(tmp_path)
    save_identity(tmp_path, IDENTITY)

    assert has_joined(tmp_path)
    assert load_identity(tmp_path) == IDENTITY
    assert str(IDENTITY.spiffe_id) == "spiffe://sfo.hanse.example/node/node-1"


def test_a_node_that_has_not_joined_is_told_how(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="hanse dsn join"):
        load_identity(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"servers": []}'])
def test_a_damaged_identity_is_said_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "identity.json").write_bytes(content)

    with pytest.raises(Invalid, match="join anew"):
        load_identity(tmp_path)


def test_settings_come_from_the_file_and_then_the_environment(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("dataPlane: memory\ntable: hanse-a\n")

    settings = load_settings_of(tmp_path, {"HANSE_DSN_TABLE": "hanse-b"})

    assert (settings.data_plane, settings.table) == ("memory", "hanse-b")


@pytest.mark.parametrize(
    "text",
    ["dataplane: memory", "dataPlane: iptables", "table: filter", "logGroup: 65536", "x: 1"],
)
def test_a_setting_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)

    with pytest.raises(Invalid) as refusal:
        load_settings_of(tmp_path, {})
    assert refusal.value.code == "invalid_settings"
