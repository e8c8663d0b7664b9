"""Which sample when, if classes are drawn by weight rather than as often as they occur: pure functions of integers, too.

Each class c has m_c turns in a *round* of M = Σ m_c positions; round r is the positions [r·M, (r+1)·M). So every round
holds exactly the shares that were asked for. Within a round the turns of a class are spread evenly, each at a random place
of its stretch: turn j of class c lies at (j + u) / m_c of the round, u being uniform in [0, 1) and random for each turn.
Turn j of round r is the class's draw k = r·m_c + j, and its draws go through its samples pass by pass, n_c draws each:
every sample of the class once a pass, in random order, shard by shard.

Position → sample needs no history, and neither batch nor lanes: only (digest, labels, turns, seed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trainer.data.order import SUBSTITUTES, Ints, Order, hashed, key, permutation

ROUND = 1 << 20
"""Positions of the longest round. Weights that need a longer one to be exact are rounded to it."""
UNKNOWN = -1
"""Label of a sample that can't be read: it is never drawn."""
_BITS = np.uint64(32)


class NoClassError(ValueError):
    """Nothing is left to draw."""


def turns(weights: Sequence[float]) -> list[int]:
    """Turns of each class in a round: the smallest integers in the ratio of the weights, which are finite and ≥ 0.

    Where these sum to more than ROUND, the nearest that don't; a class with a weight always has a turn.
    Raises NoClassError if no weight is above 0.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    if not any(exact):
        raise NoClassError("no class that has images to train on has a weight above 0")
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    common = math.gcd(*whole)
    whole = [weight // common for weight in whole]
    total, most = sum(whole), max(ROUND, len(whole))
    return whole if total <= most else [max(1, weight * most // total) if weight else 0 for weight in whole]


class WeightedOrder(Order):
    """The sample order of a training whose classes are drawn by weight.

    labels: int64 [samples], the class of each; UNKNOWN ones are left out. weights: of each class, relative to the others.
    Classes without samples are left out, and the others share what is theirs. Raises ValueError as Order does,
    NoClassError if no class that has samples has a weight.
    """

    def __init__(
        self, digest: str, shards: Sequence[int], seed: int, lanes: int, batch: int,
        labels: Ints, weights: Sequence[float],
    ) -> None:  # fmt: skip
        super().__init__(digest, shards, seed, lanes, batch)
        counts = np.bincount(labels[labels >= 0], minlength=len(weights))
        by_class = np.argsort(labels, kind="stable")
        ends = np.cumsum(counts) + int((labels < 0).sum())
        self._members = [by_class[end - count : end] for end, count in zip(ends, counts, strict=True)]
        shares = turns([weight if count else 0.0 for weight, count in zip(weights, counts, strict=True)])
        self._turns = np.asarray(shares, dtype=np.int64)
        self._round = int(self._turns.sum())
        self._class_of = np.repeat(np.arange(len(shares)), self._turns)
        """Class of each turn; a class's turns lie side by side."""
        self._turn_of = np.arange(self._round) - np.repeat(np.cumsum(self._turns) - self._turns, self._turns)
        self._arranged = lru_cache(4)(self._arrange)
        self._pass = lru_cache(2 * len(shares) + 8)(self._pass_of)

    def at(self, positions: Ints) -> Ints:
        """The sample number at each position."""
        classes, draws = self._draws(positions)
        sizes = np.array([len(members) for members in self._members], dtype=np.int64)[classes]
        passes, inside = draws // sizes, draws % sizes
        found = np.empty_like(positions)
        for label, number in {*zip(classes.tolist(), passes.tolist(), strict=True)}:
            rows = (classes == label) & (passes == number)
            found[rows] = self._pass(label, number)[inside[rows]]
        return found

    def substitutes(self, position: int) -> list[int]:  # type: ignore[override]
        """As in Order, of the same class, so that shares stay what they are."""
        members = self._members[int(self._draws(np.array([position], dtype=np.int64))[0][0])]
        tries = np.arange(SUBSTITUTES, dtype=np.int64) + position * SUBSTITUTES
        picked = hashed(tries, key("substitute", *self._name)) % np.uint64(len(members))
        found: list[int] = members[picked.astype(np.int64)].tolist()
        return found

    def _draws(self, positions: Ints) -> tuple[Ints, Ints]:
        """Class of each position, and how many draws of that class there were before it."""
        rounds, places = positions // self._round, positions % self._round
        slots = np.empty_like(positions)
        for number in np.unique(rounds).tolist():
            rows = rounds == number
            slots[rows] = self._arranged(number)[places[rows]]
        classes = self._class_of[slots]
        return classes, rounds * self._turns[classes] + self._turn_of[slots]

    def _arrange(self, number: int) -> NDArray[np.int32]:
        """The turns of a round in the order of its positions."""
        slots = np.arange(self._round, dtype=np.int64)
        jitter = (hashed(slots, key("turns", *self._name, number)) >> _BITS).astype(np.int64)
        places = ((self._turn_of << 32) + jitter) // self._turns[self._class_of]
        return np.argsort(places, kind="stable").astype(np.int32)

    def _pass_of(self, label: int, number: int) -> Ints:
        """A class's samples in the order of one of its passes."""
        members = self._members[label]
        rank = np.argsort(permutation(len(self._sizes), key("shards", *self._name, "class", label, number)))
        shards = np.searchsorted(self._first + self._sizes, members, side="right")
        inside = hashed(members, key("samples", *self._name, "class", label, number))
        order: Ints = members[np.lexsort((inside, rank[shards]))]
        return order
