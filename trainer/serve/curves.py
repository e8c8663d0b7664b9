"""Ways from one latent to another. numpy alone.

Shape legend: n points of a way, D dimensions.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Curve = Literal["slerp", "lerp"]
PARALLEL = 1e-4
"""Angle, in radians, from 0 or π, at which a great circle is no longer told from a line, or is any."""


def way(curve: Curve, start: NDArray[Any], end: NDArray[Any], points: int) -> NDArray[np.float32]:
    """Points from start to end [D], both counted, float32 [n, D].

    slerp: along the great circle (White 2016, section 2.1.2): sin((1 − t)θ)/sin θ · a + sin(tθ)/sin θ · b, θ the angle between a and b.
    For vectors that are (anti)parallel, or zero, that is 0/0: then straight.
    """
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    t = np.linspace(0.0, 1.0, points)[:, None]
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    angle = 0.0 if curve == "lerp" or not lengths else float(np.arccos(np.clip(a @ b / lengths, -1.0, 1.0)))
    if PARALLEL < angle < np.pi - PARALLEL:
        found = (np.sin((1.0 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    else:
        found = (1.0 - t) * a + t * b
    found[0], found[-1] = a, b  # to the last bit
    points_nD: NDArray[np.float32] = found.astype(np.float32)
    return points_nD
