"""The largest micro-batch whose update fits. A worker's memory is affine in the micro-batch, up to which moment is the fullest."""

from __future__ import annotations

from collections.abc import Callable


def divisors(n: int) -> list[int]:
    """Of n ≥ 1, descending."""
    small = [i for i in range(1, int(n**0.5) + 1) if n % i == 0]
    return sorted({*small, *(n // i for i in small)}, reverse=True)


def largest(local: int, usable: int, memory: Callable[[int], int], known: int) -> int | None:
    """The largest divisor of `local` whose `memory` is at most `usable`; None if that of 1 is not.

    memory: micro-batch → bytes, seconds to evaluate. known: a micro-batch that was evaluated already. Two evaluations give the
    line, and its answer is then evaluated itself, and the next smaller ones as long as the line was too hopeful, or the next
    larger ones if it may have been too timid.
    """
    if memory(local) <= usable:
        return local
    candidates = divisors(local)[1:]
    if not candidates:
        return None
    other = next((d for d in candidates if d != known), candidates[0]) if known == local else local
    slope = (memory(other) - memory(known)) / (other - known)
    start = memory(known) - slope * known
    hopeful = [d for d in candidates if start + slope * d <= usable] or [1]
    best = next((d for d in hopeful if memory(d) <= usable), None)
    if best is None or (best not in (known, other) and abs(memory(best) - (start + slope * best)) < 1):
        return best  # three points on the line: so are those between
    for larger in reversed([d for d in candidates if d > best]):  # memory bends upwards, so the line may be above it
        if memory(larger) > usable:
            break
        best = larger
    return best
