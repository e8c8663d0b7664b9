from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from evaluate_doubles import FakeRun, small_spec

from trainer.evaluate.classifier import classifier_extractor


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all tests, so that the extractor is trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(cache):
    return FakeRun(small_spec(), cache)


@pytest.fixture(scope="session")
def digits(cache):
    return FakeRun(small_spec(), cache).dataset


@pytest.fixture(scope="session")
def classifier(digits, cache):
    return classifier_extractor(digits, cache, torch.device("cpu"))
