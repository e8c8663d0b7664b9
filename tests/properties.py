"""How many examples a property is tried with: some at each `make test`, five times as many in `make test-long`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings

MANY = int(os.environ.get("AGON_TEST_EXAMPLES", "1"))
"""How many times the examples of `make test`."""


def examples(number: int, **options: Any) -> settings:
    """Decorator: so many examples in `make test`, each however long it takes: that says what else this machine does."""
    return settings(max_examples=number * MANY, deadline=None, **options)
