from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packages import coded, conditional, encoding, packaged, unconditional

sys.path.insert(0, str(Path(__file__).parent))

from asking import model_of

__all__ = ["coded", "conditional", "encoding", "packaged", "unconditional"]


@pytest.fixture(scope="session")
def dcgan(conditional):
    return model_of(conditional)


@pytest.fixture(scope="session")
def infogan(coded):
    return model_of(coded)


@pytest.fixture(scope="session")
def bigan(encoding):
    return model_of(encoding)


@pytest.fixture(scope="session")
def gan(unconditional):
    return model_of(unconditional)
