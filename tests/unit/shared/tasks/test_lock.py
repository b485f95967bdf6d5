"""One process at a time works in a data folder."""

from pathlib import Path

import pytest

from shared.errors import Conflict
from shared.tasks.lock import only_process


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    with only_process(tmp_path):
        with pytest.raises(Conflict) as caught, only_process(tmp_path):
            pass
        assert caught.value.code == "already_running"
    with only_process(tmp_path):
        pass
