"""What is used of each node, as Ray's dashboard has it: by the autoscaler of its first version as numbers, by that of its second, which
KubeRay turns on, as text.

Read in ray 2.60: `dashboard/modules/reporter/reporter_head.py`, `…/node/node_head.py`, `autoscaler/_private/util.py` (`parse_usage`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Use = Mapping[str, float]
"""By resource: CPU, GPU, memory (bytes)."""
_SIZES = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)(B|KiB|MiB|GiB|TiB)?"
_LINE = re.compile(
    rf"^{_NUMBER}/{_NUMBER} (\S+)(?: \({_NUMBER} used of {_NUMBER} reserved in placement groups\))?$", re.MULTILINE
)


def of_numbers(status: Mapping[str, Any]) -> dict[str, Use] | None:
    """By node. status: `clusterStatus`; None: there is none, since the autoscaler is of the second version or has only begun."""
    found: Mapping[str, Mapping[str, Sequence[float]]] | None = (status.get("loadMetricsReport") or {}).get(
        "usageByNode"
    )
    if found is None:
        return None
    return {node: {name: float(pair[0]) for name, pair in use.items()} for node, use in found.items()}


def of_text(summary: Mapping[str, str]) -> dict[str, Use]:
    """By node. summary: `nodeLogicalResources`, of each node a line a resource: `1.0/4.0 CPU (1.0 used of 2.0 reserved in placement
    groups)` is one and what is reserved and not used, so two of four."""
    return {node: dict(_of_line(found) for found in _LINE.finditer(text)) for node, text in summary.items()}


def _of_line(found: re.Match[str]) -> tuple[str, float]:
    used, unit, _, _, name, inner, inner_unit, reserved, reserved_unit = found.groups()
    extra = _amount(reserved, reserved_unit) - _amount(inner, inner_unit) if reserved else 0.0
    return name, _amount(used, unit) + extra


def _amount(number: str, unit: str | None) -> float:
    return float(number) * float(1 << _SIZES[unit or "B"])
