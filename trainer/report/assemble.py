"""Makes the sections of a page and puts it in place. Imports no torch."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from trainer.report.errors import LeftOut
from trainer.report.page import Absent, Head, S, Section, Shown, render

LOG = logging.getLogger(__name__)
REPORT_FILE = "report.html"


def write_page(head: Head, subject: S, folder: Path, sections: Sequence[Section[S]]) -> Path:
    """Write `report.html` into `folder`, replacing an older one; a reader sees a whole page. Returns its path.

    A section that fails is left out, saying so: the rest of a page is worth having. Raises OSError.
    """
    begun = time.monotonic()
    shown: list[Shown] = []
    absent: list[Absent] = []
    for section in sections:
        since = time.monotonic()
        try:
            shown.append(Shown(section, section.make(subject), time.monotonic() - since))
        except LeftOut as reason:
            absent.append(Absent(section, str(reason)))
        except Exception as error:
            LOG.warning("section %s of the report failed", section.id, exc_info=True)
            absent.append(Absent(section, f"it failed ({type(error).__name__}: {error})"))
    page = render(head, shown, absent, seconds=time.monotonic() - begun)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / REPORT_FILE
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(page, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path
