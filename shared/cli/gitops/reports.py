"""What a command writes beside its answer, for a pull request."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Reports:
    """Files to write, and whether to annotate lines for GitHub on stdout."""

    junit: Path | None = None
    markdown: Path | None = None
    annotate: bool = False


NO_REPORTS: Final = Reports()
