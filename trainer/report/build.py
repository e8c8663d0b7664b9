"""A training's page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.report.assemble import write_page
from trainer.report.head import head_of
from trainer.report.page import Section
from trainer.report.sections import SECTIONS
from trainer.report.subject import Subject


def write_report(subject: Subject, folder: Path, sections: Sequence[Section[Subject]] = SECTIONS) -> Path:
    """Write `report.html` into `folder`, replacing an older one; a reader sees a whole page. Returns its path.

    A section that fails is left out, saying so: the rest of a page is worth having. Raises OSError.
    """
    return write_page(head_of(subject), subject, folder, sections)
