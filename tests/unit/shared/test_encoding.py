"""What is kept of JSON is no larger than it says."""

import tracemalloc

import orjson
import pytest

from shared.encoding import encode_to_keep


@pytest.mark.parametrize("size", [10, 1_000, 3_000, 60_000])
def test_regression_kept_json_takes_the_memory_that_its_length_says(size: int) -> None:
    document = {"note": "x" * size}
    tracemalloc.start()
    try:
        kept = [encode_to_keep(document) for _ in range(50)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / len(kept) < len(kept[0]) + 100


def test_the_text_is_that_of_orjson() -> None:
    document = {"list": [1, None, "é"], "part": orjson.Fragment(b"{}")}
    option = orjson.OPT_APPEND_NEWLINE
    assert encode_to_keep(document, option=option) == orjson.dumps(document, option=option)
