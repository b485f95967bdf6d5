"""Tables as CSV (RFC 4180) with named columns: every bad row is told, by line and column.  Pure."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.errors import FieldError

DELIMITERS: Final = (",", ";", "\t", "|")
MOST_BYTES: Final = 64 * 1024 * 1024
# What a spreadsheet would run, were it shown the text again (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True, slots=True)
class Row:
    """A row's cells by their column, stripped; empty cells are left out."""

    file: str
    line: int
    cells: Mapping[str, str]

    def fault(self, column: str, message: str, *, code: str) -> FieldError:
        return FieldError(f"column {column}", code, message, file=self.file, line=self.line)


@dataclass(frozen=True, slots=True)
class Table:
    """Columns as the header has them, and the rows that could be read."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def decode_table(data: bytes, *, file: str, encoding: str | None) -> str | FieldError:
    """Return a file's text: as told, by its byte order mark, or UTF-8."""
    if len(data) > MOST_BYTES:
        return FieldError("", "too_large", f"larger than {MOST_BYTES} bytes", file=file)
    named = encoding or next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        return data.decode(named)
    except LookupError:
        return FieldError("", "invalid_encoding", f"there is no encoding {named!r}", file=file)
    except UnicodeError as exc:
        position = getattr(exc, "start", 0)
        line = data.count(b"\n", 0, position) + 1
        sentence = f"this is no {named}; say what it is, for example --encoding cp1252"
        return FieldError("", "invalid_encoding", sentence, file=file, line=line)


def read_table(
    text: str, *, file: str, delimiter: str | None, faults: list[FieldError]
) -> Table | None:
    """Return the table; None if it has no header.  What is wrong with rows goes to `faults`."""
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        faults.append(FieldError("", "control_character", "a NUL byte", file=file, line=line))
        return None
    rows = _rows(text, delimiter or _delimiter(text), file, faults)
    header = next(rows, None)
    if header is None:
        faults.append(FieldError("", "no_header", "the first row must name the columns", file=file))
        return None
    columns = tuple(cell.strip() for cell in header[1])
    for number, column in enumerate(columns, 1):
        if not column or column in columns[: number - 1]:
            what = f"column {number} has no name" if not column else f"{column!r} stands twice"
            faults.append(FieldError("", "invalid_header", what, file=file, line=header[0]))
    found = []
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            sentence = f"{len(cells)} cells, but the header has {len(columns)}"
            faults.append(FieldError("", "wrong_cells", sentence, file=file, line=line))
            continue
        pairs = zip(columns, (cell.strip() for cell in cells), strict=True)
        found.append(Row(file, line, {column: cell for column, cell in pairs if cell}))
    return Table(columns, tuple(found))


def _rows(
    text: str, delimiter: str, file: str, faults: list[FieldError]
) -> Iterator[tuple[int, Sequence[str]]]:
    """Yield each row with the line that it begins at; a cell may span lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            sentence = f"{exc}; the rest was not read"
            faults.append(FieldError("", "invalid_csv", sentence, file=file, line=line))
            return
        yield line, cells


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(DELIMITERS, key=first.count)  # of none of them, the comma


def is_formula(text: str) -> bool:
    """Say whether a spreadsheet would run a cell instead of showing it."""
    return text.startswith(_FORMULA)
