"""What a version says that it can be asked for is what its package can, and what its job's spec promised."""

from __future__ import annotations

import pytest

from trainer.abilities import MOST_NAMES, Abilities
from trainer.families.table import recipes
from trainer.publish.package import describe, has_encoder


@pytest.mark.parametrize("recipe", recipes())
def test_package_spec_and_tag_say_the_same(recipe):
    spec = recipes()[recipe]()
    names = tuple(f"class {number}" for number in range(spec.arch.classes))
    found = Abilities.of_config(describe(spec, names))
    assert found == Abilities.of_arch(spec.arch, names, encoder=has_encoder(spec))
    assert Abilities.model_validate_json(found.tag()) == found
    assert found.truncation == (spec.arch.latent.distribution == "normal")


def test_names_that_are_too_long_for_a_tag_are_left_out():
    spec = recipes()["dcgan-digits"]()
    assert Abilities.of_arch(spec.arch, ["x" * MOST_NAMES] * 10, encoder=False).class_names == ()
