"""Ends a search whose best score has not become better for too long: `limits.no_better_after`, over the images of all trials."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from trainer.launch.tune.book import Book
from trainer.launch.tune.progress import replace_text
from trainer.schema import Frozen
from trainer.spec.limits import WARNED_AT, plateau

FILE = "plateau.json"


class Standing(Frozen):
    """The best score so far, and how many images all trials had shown when it came."""

    value: float | None = None
    images: int = 0


class Plateau:
    """Of one driver; its record lies in the search's folder. It judges only after evaluations that came since it began."""

    def __init__(self, book: Book, folder: Path) -> None:
        self._book, self._path = book, folder / FILE
        self._after = book.search.limits.no_better_after
        self._standing = _read(self._path)
        self._results = self._count()
        self._warned = False

    def look(self) -> tuple[str | None, str | None]:
        """Why the search ends, and what it is to be warned of; None: neither. Raises OSError."""
        if self._after is None or (results := self._count()) == self._results:
            return None, None
        self._results = results
        best, images = self._book.best(), self._book.images
        if best is not None and best.score is not None and self._is_better(best.score):
            self._standing = Standing(value=best.score, images=images)
            replace_text(self._path, self._standing.model_dump_json())
        since = images - self._standing.images
        reason = plateau(self._book.search.metric, self._standing.value, since, self._after)
        near, before = since >= WARNED_AT * self._after, self._warned
        self._warned = near
        if since >= self._after:
            return reason, None
        return None, reason if near and not before else None

    def _is_better(self, score: float) -> bool:
        value = self._standing.value
        return value is None or (score < value if self._book.search.minimises else score > value)

    def _count(self) -> int:
        return sum(len(record.results) for record in self._book.records)


def _read(path: Path) -> Standing:
    try:
        return Standing.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return Standing()
