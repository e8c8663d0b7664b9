from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_doubles import TINY, Lookup, package

from trainer.evaluate import classifier
from trainer.report.load import Where, from_package


@contextmanager
def _hurried():
    """The classifier is trained for half as long as usual. Not for the session: tests of other folders need a good one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "SHOWN", 7000)
        yield


@pytest.fixture(autouse=True)
def _hurry():
    with _hurried():
        yield


@pytest.fixture(scope="session")
def where(tmp_path_factory):
    """One cache for all tests, so that digits are packed and the classifier is trained once."""
    return Where(cache_dir=tmp_path_factory.mktemp("cache"), effort=TINY)


@pytest.fixture(scope="session")
def subjects(tmp_path_factory, where):
    """Reports' subjects by recipe, each from a real package that is built once."""
    known = {}

    def subject(recipe: str):
        if recipe not in known:
            folder = package(recipe, tmp_path_factory.mktemp(recipe), where.cache_dir)
            with _hurried():
                known[recipe] = from_package(folder, where)
        return known[recipe]

    return subject


@pytest.fixture(scope="session")
def conditional(subjects):
    """Class-conditional, normal prior."""
    return subjects("dcgan-digits")


@pytest.fixture(scope="session")
def known_model(conditional):
    """A subject whose model draws what its latents say: unconditional, on the digits with their classifier."""
    spec = conditional.spec.replace(arch=conditional.arch.replace(classes=0))
    return replace(conditional, spec=spec, model=Lookup(conditional.dataset, spec.arch.latent.dim))
