"""How many questions are under way at once: all of a process, and those of one caller, who must not keep the others from asking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import TooMany


class Crowd:
    """At most `width` at once, at most `share` of them one caller's. All methods belong to the event loop."""

    def __init__(self, width: int, share: int | None = None) -> None:
        self.width, self.share = width, share or max(1, width // 4)
        self._here: Counter[str] = Counter()

    @contextmanager
    def one_more(self, caller: str) -> Iterator[None]:
        """As long as a question is under way. Raises TooMany."""
        if self._here[caller] >= self.share:
            raise TooMany(f"{self.share} of your questions are under way; ask again when one of them is answered")
        if self._here.total() >= self.width:
            raise TooMany(f"{self.width} questions are under way; ask again in a moment")
        self._here[caller] += 1
        try:
            yield
        finally:
            self._here[caller] -= 1
            if not self._here[caller]:
                del self._here[caller]
