"""Looking for words in logs: line by line, plain text, so that no question costs more than reading what it is about.

One answer takes so much time and no more; the next goes on from the cursor that it gives.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.runs import logs
from service.runs.logs import Log

SECONDS = 2.0
"""Of work for one answer."""
MAX_LINE = 64 * 1024
"""Bytes of a line that are looked at together; a longer one is looked at in pieces, and each tells the same number."""
MAX_SHOWN = 2000
"""Bytes of a line that are told."""
AROUND = 200
"""Of these, before the word."""
LOOK_LINES = 500
"""Between two looks at the clock."""
CURSOR = r"^(driver|[0-9]{1,5})[.][0-9]{1,18}[.][0-9]{1,12}$"


class Place(NamedTuple):
    """Where a search goes on."""

    rank: int | None
    offset: int = 0
    line: int = 1

    def cursor(self) -> str:
        """As it is handed out."""
        return f"{'driver' if self.rank is None else self.rank}.{self.offset}.{self.line}"


def place_of(cursor: str) -> Place:
    """The place of a cursor that matches CURSOR."""
    rank, offset, line = cursor.split(".")
    return Place(None if rank == "driver" else int(rank), int(offset), int(line))


@dataclass
class Hit:
    """A line with one of the words."""

    log: Log
    line: int
    """Counted from 1, in what is kept of the log."""
    offset: int
    """Where it begins."""
    text: str
    before: tuple[str, ...] = ()
    after: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Wanted:
    """What is looked for: any of the words."""

    words: tuple[bytes, ...]
    case: bool
    """Whether A to Z are told from a to z."""
    context: int
    """Lines before and after."""

    @classmethod
    def of(cls, texts: Sequence[str], case: bool, context: int) -> Wanted:
        """As they are asked for."""
        words = (text.encode("utf-8", "surrogatepass") for text in texts)
        return cls(tuple(word if case else word.lower() for word in words), case, context)

    def at(self, line: bytes) -> int | None:
        """Where the first of them begins."""
        text = line if self.case else line.lower()
        return min((begin for word in self.words if (begin := text.find(word)) >= 0), default=None)


@dataclass
class Found:
    """One answer."""

    hits: list[Hit] = field(default_factory=list)
    following: Place | None = None
    """None: that was all."""


Over = Callable[[], bool]
"""Whether the time is up."""


def search(found: Sequence[Log], wanted: Wanted, limit: int, begin: Place | None, stop: threading.Event) -> Found:
    """At most `limit` lines of these logs, in their order, from a place on. stop: nobody waits for it any more."""
    answer, until = Found(), time.monotonic() + SECONDS

    def over() -> bool:
        return stop.is_set() or time.monotonic() > until

    left = [log for log in found if begin is None or _order(log.rank) >= _order(begin.rank)]
    for log in left:
        place = begin if begin is not None and log.rank == begin.rank else Place(log.rank)
        if log is not left[0] and over():
            answer.following = place
        else:
            answer.following = _in(log, wanted, limit, place, answer.hits, over)
        if answer.following is not None:
            break
    return answer


def _order(rank: int | None) -> int:
    return -1 if rank is None else rank


def _in(log: Log, wanted: Wanted, limit: int, begin: Place, hits: list[Hit], over: Over) -> Place | None:
    """Look through one log; where to go on, if that isn't its end."""
    before: deque[str] = deque(maxlen=wanted.context)
    unfinished: list[Hit] = []
    following: Place | None = None
    for count, (number, offset, line) in enumerate(_lines(log, begin)):
        if count % LOOK_LINES == LOOK_LINES - 1 and over():
            return following or Place(log.rank, offset, number)
        for hit in unfinished:
            hit.after.append(_shown(line))
        unfinished = [hit for hit in unfinished if len(hit.after) < wanted.context]
        if following is None and (column := wanted.at(line)) is not None:
            if len(hits) == limit:
                following = Place(log.rank, offset, number)
            else:
                hits.append(Hit(log, number, offset, _shown(line, column), tuple(before)))
                unfinished += hits[-1:] if wanted.context else []
        if following is not None and not unfinished:
            return following
        if wanted.context:
            before.append(_shown(line))
    return following


def _lines(log: Log, begin: Place) -> Iterator[tuple[int, int, bytes]]:
    """Number, place and bytes of each line, or of a piece of a long one."""
    first, position = logs.split(begin.offset)
    number = begin.line
    for part in log.numbers():
        if part < first or (file := log.open(part)) is None:
            continue
        with file:
            at = position if part == first else 0
            file.seek(at)
            while line := file.readline(MAX_LINE):
                yield number, logs.place(part, at), line
                at += len(line)
                number += line.endswith(b"\n")


def _shown(line: bytes, column: int = 0) -> str:
    """As it is told: of a long one what is around the word."""
    begin = max(0, column - AROUND) if len(line) > MAX_SHOWN else 0
    cut = line[begin : begin + MAX_SHOWN]
    whole = begin == 0 and len(cut) == len(line)
    text = cut.decode(errors="replace").rstrip("\r\n")
    return text if whole else f"{'… ' if begin else ''}{text}{' …' if begin + len(cut) < len(line) else ''}"
