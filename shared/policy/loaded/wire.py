"""The lines that take a node from one configuration to the next, or give it the whole."""

from collections.abc import Mapping

import orjson

from shared.encoding import encode_to_keep
from shared.policy.loaded.nodes import Step
from shared.policy.nodeconfig import NodeConfiguration, to_json


def delta_line(generation: int, step: Step) -> bytes:
    """Return the line for a step."""
    frame = {"generation": generation, "hash": step.hash, "delta": step.delta}
    return encode_to_keep(frame, option=orjson.OPT_APPEND_NEWLINE)


def snapshot_line(generation: int, hash_: str, configuration: NodeConfiguration) -> bytes:
    """Return the line for a whole configuration."""
    return line_of({"generation": generation, "hash": hash_, "snapshot": to_json(configuration)})


def line_of(frame: Mapping[str, object]) -> bytes:
    return orjson.dumps(frame, option=orjson.OPT_APPEND_NEWLINE)
