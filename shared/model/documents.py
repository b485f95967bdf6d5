"""Documents between text and values: YAML or JSON in, envelopes and faults out, and back.

One reading reports everything that is wrong, each fault with file, line, path, code and a
sentence.  Files, request bodies and transactions all come through here, so a document means the
same wherever it is read.  What a document means together with others is shared.policy's.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, Final, Literal

import yaml
from pydantic import ConfigDict, ValidationError
from yaml.cyaml import CSafeDumper

from shared.errors import FieldError, HanseError
from shared.ids import parse_dns_label
from shared.model.base import API_VERSION, Envelope, Spec
from shared.model.json_source import read_json
from shared.model.kinds import KINDS, Kind
from shared.model.schema import suggestion
from shared.model.source import (
    MAX_DOCUMENT_BYTES,
    Faults,
    GiveUp,
    Place,
    Source,
    decode,
    parse_path,
    quoted,
)
from shared.model.validation import QUOTE_IT, Finding, describe, findings
from shared.model.yaml_source import read_yaml, resolve_plain

Format = Literal["yaml", "json"]

# The fields of an overridden policy that stay as they are.
_TARGETS_OWN: Final = ("enforcement", "sites")

_READERS: Final = {"yaml": read_yaml, "json": read_json}


@dataclass(frozen=True, slots=True)
class Parsed:
    """One sound document, and where it came from.

    `file` is None and `line` 1 for what didn't come from a file.
    """

    envelope: Envelope[Any]
    kind: Kind
    file: str | None
    source: Source

    @property
    def line(self) -> int:
        return self.source.place().line

    def line_of(self, path: str) -> int:
        """Return the line of a field (`spec.rules[2].from[0].network`), or of what is around it."""
        return self.source.place().at(parse_path(path)).line


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text holds: its sound documents, in order, and all that is wrong with the others.

    `refused` are the others' data, as far as they could be read; `is_complete` says that nothing
    of the text remained unread.
    """

    documents: tuple[Parsed, ...]
    faults: tuple[FieldError, ...]
    refused: tuple[Any, ...] = ()
    is_complete: bool = True


def parse_documents(
    data: bytes,
    *,
    file: str | None = None,
    format: Format = "yaml",  # noqa: A002 - what every caller would call it
    limit: int = MAX_DOCUMENT_BYTES,
) -> Reading:
    """Read any number of documents; never raises for what `data` holds.

    `limit` is in bytes.  JSON may be one value or several after each other.
    """
    faults = Faults(file)
    documents: list[Parsed] = []
    refused: list[Any] = []
    sound = 0
    with suppress(GiveUp):  # the faults say why
        for source in _READERS[format](decode(data, limit=limit, faults=faults), faults):
            envelope = _envelope_of(source, faults)
            if envelope is not None and len(faults.found) == sound:
                documents.append(Parsed(envelope, KINDS[envelope.kind], file, source))
            else:
                refused.append(source.data)
            sound = len(faults.found)
        return Reading(
            tuple(documents), tuple(faults.found), tuple(refused), len(faults.found) == sound
        )
    return Reading(tuple(documents), tuple(faults.found), tuple(refused), is_complete=False)


def parse_value(
    data: Any, *, prefix: str = ""
) -> tuple[Envelope[Any] | None, tuple[FieldError, ...]]:
    """Read one document from plain data, as a JSON parser gives it.

    Faults have `prefix` before their paths, for example `operations[3].object`.
    """
    faults = Faults()
    source = Source(data, lambda: Place(1), prefix=parse_path(prefix))
    envelope: Envelope[Any] | None = None
    with suppress(GiveUp):  # the faults say why
        envelope = _envelope_of(source, faults)
    return envelope, tuple(faults.found)


class _AnySpec(Spec):
    """Stands in for the spec of a kind that nobody knows, so that the rest is still checked."""

    model_config = ConfigDict(extra="ignore")


@cache
def envelope_type(kind: str | None) -> type[Envelope[Any]]:
    """Return the model of a known kind's documents; for None, one that takes any spec."""
    spec = KINDS[kind].spec if kind is not None else _AnySpec
    return Envelope[spec]  # type: ignore[valid-type]  # made at run time, a type for each kind


def _envelope_of(source: Source, faults: Faults) -> Envelope[Any] | None:
    """Validate one document; without an envelope, it has faults."""
    data = source.data
    if not isinstance(data, dict):
        message = (
            "a document is a mapping with apiVersion, kind, metadata and spec, "
            f"not {describe(data)}"
        )
        _report([Finding((), "invalid_value", message)], source, faults)
        return None
    name = data.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    wrong = [_kind_findings(data)]
    model = envelope_type(kind.name if kind else None)
    envelope = None
    try:
        envelope = model.model_validate(data)
    except ValidationError as exc:
        wrong.append(findings(exc, model=model, data=data))
    if kind is not None:
        wrong.append(_name_findings(data, kind))
        if kind.name == "Override":
            wrong.append(_override_findings(data))
    is_sound = _report(chain.from_iterable(wrong), source, faults)
    return envelope if is_sound and kind is not None else None


def _kind_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    kind = data.get("kind")
    if isinstance(kind, str) and kind not in KINDS:
        sentence = f"there is no kind {quoted(kind)}{suggestion(kind, KINDS)}"
        yield Finding(("kind",), "unknown_kind", sentence)


def _name_findings(data: Mapping[str, Any], kind: Kind) -> Iterator[Finding]:
    metadata = data.get("metadata")
    if not isinstance(metadata, dict):
        return
    name = metadata.get("name")
    if kind.dns_label and isinstance(name, str):
        try:
            parse_dns_label(name)
        except HanseError as exc:
            yield Finding(("metadata", "name"), exc.code, exc.message)


def _override_findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the form of an Override's own spec by its target's kind."""
    spec = data.get("spec")
    target = spec.get("target") if isinstance(spec, dict) else None
    name = target.get("kind") if isinstance(target, dict) else None
    inner = spec.get("spec") if isinstance(spec, dict) else None
    if not isinstance(name, str):
        return
    if name not in KINDS:
        sentence = f"there is no kind {quoted(name)}{suggestion(name, KINDS)}"
        yield Finding(("spec", "target", "kind"), "unknown_kind", sentence)
    elif KINDS[name].inheritance is None:
        sentence = f"a {name} is not inherited, so that nothing can override it"
        yield Finding(("spec", "target", "kind"), "invalid_target", sentence)
    elif isinstance(inner, dict):
        yield from _inner_findings(KINDS[name].spec, inner)


def _inner_findings(model: type[Spec], inner: Mapping[str, Any]) -> Iterator[Finding]:
    for field in _TARGETS_OWN:
        if field in inner:
            sentence = f"{field} stays the target's; leave it out of the override's spec"
            yield Finding(("spec", "spec", field), "not_overridable", sentence)
    own = {field: value for field, value in inner.items() if field not in _TARGETS_OWN}
    try:
        model.model_validate(own)
    except ValidationError as exc:
        for found in findings(exc, model=model, data=own):
            yield found._replace(path=("spec", "spec", *found.path))


def _report(wrong: Iterable[Finding], source: Source, faults: Faults) -> bool:
    """Add findings with their lines, but what a fault of the text already explains.

    Return whether there was none at all.
    """
    seen: set[Finding] = set()
    is_sound = True
    for found in wrong:
        is_sound = False
        explained = any(found.path[: len(path)] == path for path in source.refused)
        if explained or found in seen:
            continue
        seen.add(found)
        message, line = found.message, None
        if faults.file is not None:  # else nobody asks where, and looking costs
            place = source.place().at(found.path)
            line = place.line
            if place.text is not None and message.startswith(QUOTE_IT):
                message = f'{QUOTE_IT}: "{place.text}"'
        faults.add(found.code, message, path=(*source.prefix, *found.path), line=line)
    return is_sound


def to_plain(envelope: Envelope[Any]) -> dict[str, Any]:
    """Return a document as JSON data, as a person would write it."""
    metadata = envelope.metadata.to_json()
    plain = {"apiVersion": API_VERSION, "kind": envelope.kind, "metadata": metadata}
    return {**plain, "spec": envelope.spec.to_json()}


def to_json(envelopes: Iterable[Envelope[Any]], *, indent: int | None = None) -> str:
    """Write documents as JSON, each on a line of its own if not indented."""
    # ASCII only, since some readers split lines at U+2028 as well.
    return "".join(json.dumps(to_plain(each), indent=indent) + "\n" for each in envelopes)


def to_yaml(envelopes: Iterable[Envelope[Any]]) -> str:
    """Write documents as YAML that versions 1.1 and 1.2 read alike."""
    return dump_yaml(*map(to_plain, envelopes))


class _Dumper(CSafeDumper):
    """Quotes what YAML 1.1 takes for something else than text, and what 1.2 does."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    try:
        quote = not isinstance(resolve_plain(text), str)
    except ValueError:
        quote = True
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quote else None)


_Dumper.add_representer(str, _represent_text)


class _LineDumper(_Dumper):
    """Writes line breaks in texts as escapes."""


def _represent_on_a_line(dumper: _LineDumper, text: str) -> yaml.ScalarNode:
    if text.splitlines() not in ([], [text]):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    return _represent_text(dumper, text)


_LineDumper.add_representer(str, _represent_on_a_line)


def dump_yaml(*documents: Any) -> str:
    """Write plain data as YAML, keys in their order."""
    return yaml.dump_all(
        documents,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        explicit_start=len(documents) > 1,
        width=100,
    )


def dump_line(value: Any) -> str:
    """Write a value as YAML on one line, however long: `[{network: App}, {network: Web}]`."""
    text: str = yaml.dump(
        value,
        Dumper=_LineDumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=True,
        width=2**31 - 1,
    )
    # A scalar alone is followed by the end of its document.
    return text.removesuffix("...\n").removesuffix("\n")
