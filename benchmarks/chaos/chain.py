"""A training whose every step is known in advance: a chain of hashes. Pure.

>>> weights(seed=1, step=2) == advance(advance(weights(seed=1, step=0), 1, 1), 1, 2)
True
"""

from __future__ import annotations

import hashlib


def advance(state: bytes, seed: int, step: int) -> bytes:
    """The weights after `step`, of those before it: 32 bytes."""
    return hashlib.sha256(state + f"{seed}:{step}".encode()).digest()


def weights(seed: int, step: int) -> bytes:
    """After so many undisturbed steps."""
    state = hashlib.sha256(f"{seed}".encode()).digest()
    for number in range(1, step + 1):
        state = advance(state, seed, number)
    return state


def loss(state: bytes) -> float:
    """What is reported of them, in [0, 1)."""
    return int.from_bytes(state[:4], "big") / 2**32
