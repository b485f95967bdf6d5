"""The audit trail as JSON lines: records and seals, from any number on, so that it can be resumed.

`{"type": "start", "after", "incarnation"}`, then `record`, `seal` and `signer` lines, and at last
`{"type": "end", "number"}`: what ends without it was cut off.  A record has all that its hash is
over, so that a copy can be verified without the server.  A tenant's auditor gets his tenants'
records alone, which prove nothing without the others': no hashes, no seals.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from shared.audit.seals import SIGNERS
from shared.audit.verify import Report, SignerCheck, Verifier
from shared.audit.walk import PAGE
from shared.errors import Invalid
from shared.store.chain import line_of, row_of
from shared.store.contract import Ledger, Link, SealText

CheckOf = Callable[[Mapping[str, str]], SignerCheck]
"""Makes the check of signatures, once the signers' certificates are known."""


async def exported(
    ledger: Ledger, *, after: int, tenants: frozenset[str] | None
) -> AsyncIterator[bytes]:
    """Yield lines, some together, of the records behind a number.

    `tenants` None: all of them, with what proves them.
    """
    whole = tenants is None
    async with ledger.view() as view:
        incarnation, end = view.incarnation, view.counted
        signers = await view.records(SIGNERS) if whole else {}
    yield _line({"type": "start", "after": after, "incarnation": incarnation})
    for name, value in signers.items():
        yield _line({"type": "signer", "thumbprint": name, "chain": value["chain"]})
    # All seals, since what they seal may lie before and after; and first, so that what they seal
    # is there.  A moment of the database for each piece: a reader may take his time.
    sequence = 0
    while whole and (seals := await _seals(ledger, sequence)):
        yield b"".join(_line(_seal(each)) for each in seals)
        sequence = seals[-1].sequence
    last = after
    while last < end and (links := await _links(ledger, last)):
        documents = [_record(each, whole=whole) for each in links]
        shown = [each for each in documents if tenants is None or each.get("tenant") in tenants]
        last = max(links[-1].number, links[-1].last or 0)
        if shown:
            yield b"".join(map(_line, shown))
    yield _line({"type": "end", "number": last})


async def _seals(ledger: Ledger, after: int) -> Sequence[SealText]:
    async with ledger.view() as view:
        return await view.seals(after, PAGE)


async def _links(ledger: Ledger, after: int) -> Sequence[Link]:
    async with ledger.view() as view:
        return await view.links(after, PAGE)


def _record(each: Link, *, whole: bool) -> dict[str, Any]:
    proof: dict[str, Any] = {"hash": each.hash}
    if each.line is None:
        return {
            "type": "record",
            "number": each.number,
            "chain": each.chain,
            "position": each.position,
            "unreadableUpTo": each.last,
            **(proof if whole else {}),
        }
    try:
        row = row_of(each.line)
        row["diff"] = orjson.loads(row["diff"])
    except ValueError:
        row = {"number": each.number, "chain": each.chain, "position": each.position}
        row["line"] = each.line.decode("utf-8", "replace")
    if not whole:
        for name in ("chain", "position"):
            del row[name]
        return {"type": "record", **row}
    return {"type": "record", **row, **proof}


def _seal(each: SealText) -> dict[str, Any]:
    return {
        "type": "seal",
        "sequence": each.sequence,
        "body": each.body,
        "hash": each.hash,
        "signature": each.signature,
    }


def _line(document: Mapping[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(slots=True)
class _Read:
    signers: dict[str, str]
    seals: list[SealText]
    ended: bool = False


def verify_lines(lines: Iterable[bytes], *, check: CheckOf) -> Report:
    """Verify an export; several that continue each other may follow one another.

    Invalid (`not_an_export`) with the number of a line that is none; `export_cut_off`.
    """
    read = _Read({}, [])
    verifier: Verifier | None = None
    for number, line in enumerate(lines, 1):
        document = _parse(number, line)
        match document["type"]:
            case "start":
                read.ended = False
            case "signer":
                read.signers[str(document["thumbprint"])] = str(document["chain"])
            case "seal":
                read.seals.append(_seal_of(number, document))
            case "record":
                if verifier is None:
                    seals = {each.sequence: each for each in read.seals}
                    verifier = Verifier(
                        [seals[at] for at in sorted(seals)], check=check(read.signers)
                    )
                verifier.take(_link_of(number, document))
            case "end":
                read.ended = True
    if not read.ended:
        raise Invalid("the export ends before its last line: it was cut off", code="export_cut_off")
    if verifier is None:
        verifier = Verifier(read.seals, check=check(read.signers))
    return verifier.end()


def _parse(number: int, line: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(line)
    except ValueError as exc:
        raise _no_export(number) from exc
    if not isinstance(document, dict) or document.get("type") not in _TYPES:
        raise _no_export(number)
    return document


def _seal_of(number: int, document: Mapping[str, Any]) -> SealText:
    try:
        parts = [str(document[name]) for name in ("body", "hash", "signature")]
        return SealText(int(document["sequence"]), *parts)
    except (KeyError, TypeError, ValueError) as exc:
        raise _no_export(number) from exc


def _link_of(number: int, document: dict[str, Any]) -> Link:
    """Make the link again that a line was made of."""
    if "hash" not in document:
        raise Invalid(
            f"line {number} has no hash: this is a tenant's export, which proves nothing by itself",
            code="not_an_export",
        )
    try:
        at, chain, position = document["number"], document["chain"], document["position"]
        stored = document["hash"]
        if "unreadableUpTo" in document:
            return Link(at, chain, position, stored, None, document["unreadableUpTo"])
        if "line" in document:
            return Link(at, chain, position, stored, str(document["line"]).encode())
        row = {**document, "diff": orjson.dumps(document["diff"]).decode()}
        return Link(at, chain, position, stored, line_of(row))
    except (KeyError, TypeError) as exc:
        raise _no_export(number) from exc


def _no_export(number: int) -> Invalid:
    return Invalid(f"line {number} is none of an export of the audit trail", code="not_an_export")


_TYPES: Final = frozenset({"start", "signer", "seal", "record", "end"})
