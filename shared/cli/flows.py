"""Flows as people and programs give them: `--from`, `--to`, `--service`, and lines of JSON."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.errors import FieldError, Invalid
from shared.model.traffic import PORT_PROTOCOLS, protocol_text
from shared.policy.written_flows import DEFAULT_SOURCE_PORT, BadFlow, Flow, parse_flow

# Past this many bad lines it is the wrong file.
_MAX_FAULTS: Final = 100


@dataclass(frozen=True, slots=True)
class FlowArguments:
    """One flow, as the command's options give it."""

    source: str
    destination: str
    service: str
    source_port: int | None
    tenant: str

    def flow(self, protocol: int, port: int | None) -> Flow:
        """Return the flow, where its service means this protocol and port.

        Invalid (`invalid_flow`) names the option that is wrong.
        """
        given: dict[str, Any] = {
            "from": self.source,
            "to": self.destination,
            "protocol": protocol_text(protocol),
        }
        if port is not None:
            given["port"] = port
        if self.source_port is not None:
            given["sourcePort"] = self.source_port
        elif protocol in PORT_PROTOCOLS:
            given["sourcePort"] = DEFAULT_SOURCE_PORT
        try:
            return parse_flow(given)
        except BadFlow as exc:
            option = {"sourcePort": "source-port"}.get(exc.field, exc.field)
            fault = FieldError(f"--{option}", "invalid_flow", str(exc))
            raise Invalid("this is no flow", code="invalid_flow", fields=[fault]) from exc


def read_flows(lines: Iterable[bytes], *, file: str) -> Sequence[Flow]:
    """Read JSON lines; blank ones are left out.  Invalid names every bad line."""
    flows: list[Flow] = []
    faults: list[FieldError] = []
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            flows.append(parse_flow(orjson.loads(line)))
        except BadFlow as exc:
            faults.append(FieldError(exc.field, "invalid_flow", str(exc), file=file, line=number))
        except orjson.JSONDecodeError as exc:
            sentence = f"this is not JSON: {exc.msg} (column {exc.colno})"
            faults.append(FieldError("", "malformed", sentence, file=file, line=number))
        if len(faults) >= _MAX_FAULTS:
            break
    if faults:
        raise Invalid(f"{file} has lines that are no flows", code="invalid_flow", fields=faults)
    return flows
