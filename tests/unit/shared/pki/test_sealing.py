import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.pki.sealing import SealingKey, load_sealing_key

KEY = SealingKey(b"k" * 32)


@given(st.text(), st.text())
def test_what_is_sealed_opens_in_its_context_only(text: str, context: str) -> None:
    sealed = KEY.seal(text, context=context)
    assert KEY.open(sealed, context=context) == text
    with pytest.raises(Invalid, match="damaged"):
        KEY.open(sealed, context=context + "x")


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    import base64

    form, key, data = KEY.seal("the text", context="c").split(":")
    raw = bytearray(base64.b64decode(data))
    raw[place % len(raw)] ^= change
    with pytest.raises(Invalid, match="damaged"):
        KEY.open(f"{form}:{key}:{base64.b64encode(raw).decode()}", context="c")


@pytest.mark.parametrize("text", ["", "v1", "v1:", "v2:a:b", "v1:0000000000000000:AAAA"])
def test_what_another_key_sealed_is_told_as_that(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        KEY.open(text, context="c")
    assert caught.value.code == "other_key"


@pytest.mark.parametrize("data", ["", "AAAA", "!!!!", "é"])
def test_what_is_no_sealed_text_is_damaged(data: str) -> None:
    with pytest.raises(Invalid) as caught:
        KEY.open(f"v1:{KEY.id}:{data}", context="c")
    assert caught.value.code == "damaged_secret"


def test_two_seals_of_a_text_differ_and_two_hashes_dont() -> None:
    assert KEY.seal("x", context="c") != KEY.seal("x", context="c")
    assert KEY.hash("x") == KEY.hash("x") != SealingKey(b"o" * 32).hash("x")


def test_a_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "key"
    made = load_sealing_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_sealing_key(path).id == made.id
    assert [each.name for each in path.parent.iterdir()] == ["key"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    load_sealing_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(Invalid) as caught:
        load_sealing_key(tmp_path / "key")
    assert caught.value.code == "key_exposed"


@pytest.mark.parametrize("content", [b"", b"AAAA\n", b"\xff\xfe"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Invalid) as caught:
        load_sealing_key(path)
    assert caught.value.code == "invalid_key"
