"""docs/scaling.md names the rates and shares that plans are made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.plan import devices, roofline
from trainer.plan.words import amount

PAGE = " ".join((Path(__file__).parents[3] / "docs" / "scaling.md").read_text().split())


@pytest.mark.parametrize(
    "phrase",
    [
        f"{amount(devices.RUNTIME['cuda'])} a GPU for context",
        f"{amount(devices.RUNTIME['cpu'])} a CPU worker's process",
        f"{devices.FRAGMENTED:.0%} of it are taken to be lost to fragments",
        f"{', '.join(f'{share:.0%} of {kind}' for kind, share in roofline.COMPUTE_SHARE.items())} for convolutions",
        f"{roofline.MEMORY_SHARE:.0%} of the bandwidth for the rest",
        f"at least {roofline.LAUNCH * 1e6:g} µs an operation",
        f"fewer than {roofline.NARROW} channels a group",
        f"rings at {roofline.NETWORK_SHARE:.0%} of the links",
    ],
)
def test_the_page_says_what_plans_assume(phrase: str) -> None:
    assert phrase in PAGE
