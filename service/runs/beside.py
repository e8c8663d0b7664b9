"""Who stands in the line and who beside it, because of what their owners may have: kept from one look to the next. Pure.

Whoever comes or goes may change that for all behind them of the same owner, so all are gone through each time; but only those that came
into the line, or left it, are told, so that what was decided of the others stays decided (`service.runs.standing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from service.bodies.owners import Caps
from service.runs import caps
from service.runs.hours import Spent
from service.runs.room import Need


class Item(caps.Owned, Protocol):
    """One that waits; they sort as they stand."""

    @property
    def number(self) -> int:
        """Its own."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Item)


class Moves(NamedTuple, Generic[T]):
    """What is other than at the last look."""

    came: list[T]
    """Into the line, in order."""
    left: list[int]
    """Numbers of those that stand beside it now and were in it."""
    held: list[tuple[T, str]]
    """All that stand beside it, each with the reason."""


class Beside(Generic[T]):
    """All that wait, in order."""

    def __init__(self) -> None:
        self._all: list[T] = []
        self._inside: set[int] = set()
        """Numbers of those that are in the line."""

    def __iter__(self) -> Iterator[T]:
        """All of them, in order."""
        return iter(self._all)

    def look(
        self,
        known: Mapping[str, Caps],
        active: Iterable[tuple[str, Need]],
        spent: Mapping[str, Spent],
        came: Sequence[T],
        gone: Collection[int],
    ) -> Moves[T]:
        """Who stands where when some came, in order, and some have gone; what else is as in `service.runs.caps.split`."""
        self.forget(gone)
        self._all = list(merge(self._all, came))
        line, held = caps.split(known, active, self._all, spent)
        inside = {item.number for item in line}
        moves = Moves(
            came=[item for item in line if item.number not in self._inside],
            left=[item.number for item, _ in held if item.number in self._inside],
            held=held,
        )
        self._inside = inside
        return moves

    def forget(self, gone: Collection[int]) -> None:
        """Those of these numbers don't wait any more."""
        if gone:
            self._all = [item for item in self._all if item.number not in gone]
            self._inside.difference_update(gone)
