"""What a family can't do is refused at submit, with the field and the families that can."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.data.manifest import mismatches
from trainer.families.table import NAMES, families_with, recipes
from trainer.objective.phases import adversarial
from trainer.report.verdict import LEAST_SCORES
from trainer.spec import FieldError, JobSpec, SpecError, with_overrides


def recipe_of(family: str) -> JobSpec:
    """The family's recipe on the digits."""
    specs = [recipe() for recipe in recipes().values()]
    return next(spec for spec in specs if spec.arch.family == family and spec.data.url == "builtin:digits")


def refused(family: str, **changes: object) -> dict[str, FieldError]:
    """The errors of the family's recipe with these changes (a__b stands for a.b), by path."""
    with pytest.raises(SpecError) as caught:
        with_overrides(recipe_of(family), [f"{path.replace('__', '.')}={value}" for path, value in changes.items()])
    return {error.path: error for error in caught.value.errors}


CASES: dict[str, tuple[str, Mapping[str, object], str, str, str]] = {
    # what: family, changes, path, part of the message, part of the fix
    "labels missing": ("cgan", {"arch__classes": 0}, "arch.classes", "conditioned on labels", "that the data has"),
    "more classes than the digits": ("cgan", {"arch__classes": 12}, "arch.classes", "10 classes", "use 10"),
    "labels of a family without": ("infogan", {"arch__classes": 10}, "arch.classes", "knows no labels", "cgan"),
    "encoder published": (
        "dcgan", {"publish__model": "m", "publish__encoder": True}, "publish.encoder", "family dcgan has none", "ae, vae",
    ),
    "encoder scored": (
        "infogan", {"evaluation__metrics": "[fid, reconstruction]"}, "evaluation.metrics", "needs an encoder", "ae, vae",
    ),
    "gate on what is not scored": (
        "ae", {"publish__model": "m", "publish__metric": "reconstruction", "evaluation__metrics": "[fid]"},
        "publish.metric", "is not evaluated", "evaluation.metrics",
    ),
    "loss without a D": ("ae", {"objective__loss": "hinge"}, "objective.loss", "no discriminator", "leave it out"),
    "D's steps without a D": ("vae", {"objective__d_steps": 5}, "objective.d_steps", "no discriminator", "use 1"),
    "D's micro-batch without a D": ("ae", {"train__micro_batch__D": 4}, "train.micro_batch.D", "no discriminator", "leave"),
    "truncation of a uniform prior": (
        "gan", {"evaluation__truncations": "[0.5]"}, "evaluation.truncations", "uniform prior", "normal",
    ),
    "codes": ("dcgan", {"arch__latent__categorical": "[10]"}, "arch.latent.categorical", "unknown field", "infogan"),
    "no code": (
        "infogan", {"arch__latent__categorical": "[]", "arch__latent__continuous": 0}, "arch.latent", "has no code", "",
    ),
    "a code of one value": (
        "infogan", {"arch__latent__categorical": "[1]"}, "arch.latent.categorical.0", "greater than or equal to 2", "values",
    ),
    "a field of another family": ("dcgan", {"arch__maxout_pieces": 5}, "arch.maxout_pieces", "unknown field", "gan"),
    "r2 and batch norm": (
        "dcgan", {"objective__penalties": "[{kind: r2}]"}, "objective.penalties.0", "batch norm", "arch.d_norm=layer",
    ),
    "r1 and a batch norm that stays": (
        "infogan", {"objective__penalties": "[{kind: r1}]"}, "objective.penalties.0", "batch norm", "family dcgan",
    ),
    "geometric to zero": (
        "dcgan", {"optimizers__G__schedule": "{kind: geometric}"}, "optimizers.G.schedule.final", "never reaches", "above 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_family_can_not_do_names_the_field_the_value_and_the_fix(case: str) -> None:
    family, changes, path, message, fix = CASES[case]
    found = refused(family, **changes)
    assert list(found) == [path]
    error = found[path]
    assert message in error.message
    assert fix in error.fix
    assert error.fix or error.message.count(";"), "no fix"
    assert error.value


@pytest.mark.parametrize("family", NAMES)
def test_a_resolution_that_a_family_can_not_make_is_answered_with_some_that_it_can(family: str) -> None:
    """Whatever field of its own the family declares: sizes, a list, bounds."""
    base = recipe_of(family)
    base = base.replace(data=base.data.replace(url="data/any"))
    answered = 0
    for resolution in (1, 4, 30, 48, 300, 100_003):
        # BigGAN gives every block an equal part of z: 840 can be cut for all of them.
        changes = ["arch.latent.dim=840", f"arch.resolution={resolution}"]
        try:
            with_overrides(base, changes)
        except SpecError as error:
            [wrong] = error.errors
            assert (wrong.path, wrong.value) == ("arch.resolution", str(resolution))
            named = {int(number) for number in re.findall(r"\d+", f"{wrong.message} {wrong.fix}")} - {resolution}
            assert named, "no resolution is named that would do"
            for possible in named:
                with_overrides(base, [changes[0], f"arch.resolution={possible}"])
            answered += 1
    assert answered, "every family has a limit"


def test_a_loss_of_its_own_is_for_families_that_have_one() -> None:
    error = refused("dcgan", objective__loss="own")["objective.loss"]
    assert "dcgan has no loss of its own" in error.message
    assert "hinge" in error.fix
    assert "own" not in error.fix


def test_a_family_with_its_own_loss_says_so_and_no_other_loss_or_penalty_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = recipe_of("dcgan")
    monkeypatch.setattr(type(base.arch), "own_loss", True)
    with pytest.raises(SpecError) as caught:
        with_overrides(base, ["train.batch=32"])
    assert [(e.path, e.value, e.fix) for e in caught.value.errors] == [
        ("objective.loss", '"non-saturating"', "use own")
    ]
    assert with_overrides(base, ["objective.loss=own"]).objective.loss == "own"
    with pytest.raises(SpecError) as caught:
        with_overrides(base, ["objective.loss=own", "objective.penalties=[{kind: clip}]"])
    assert [error.path for error in caught.value.errors] == ["objective.penalties"]
    with pytest.raises(ValueError, match="losses of its own"):
        adversarial(with_overrides(base, ["objective.loss=own"]))


def data(classes: int, resolution: int = 16) -> Any:
    """A dataset's manifest, as far as `mismatches` reads it."""
    names = tuple(map(str, range(classes)))
    return SimpleNamespace(resolution=resolution, channels=1, classes=names, samples=1000, digest="d" * 64)


def on_data(family: str, **changes: object) -> JobSpec:
    base = recipe_of(family)
    base = base.replace(data=base.data.replace(url="data/any"))
    return with_overrides(base, [f"{path.replace('__', '.')}={value}" for path, value in changes.items()])


@pytest.mark.parametrize(
    ("family", "classes", "message", "fix"),
    [
        ("dcgan", 0, "the data has no labels", "use 0, or pack images that lie in a folder for each class"),
        ("cgan", 0, "the data has no labels", "pack images that lie in a folder for each class"),
        ("dcgan", 3, "the data has 3 classes", "use 3, or 0 for no labels"),
        ("cgan", 3, "the data has 3 classes", "use 3"),
    ],
)
def test_classes_that_the_data_has_not_are_refused_with_what_the_family_can_do(
    family: str, classes: int, message: str, fix: str
) -> None:
    (error,) = mismatches(data(classes), on_data(family, arch__classes=10))
    assert (error.path, error.value, error.message, error.fix) == ("arch.classes", "10", message, fix)


def test_data_with_labels_serves_families_that_know_none() -> None:
    for family in set(NAMES) - set(families_with("labels")):
        assert mismatches(data(10, recipe_of(family).arch.resolution), on_data(family)) == []


def test_the_table_says_who_can_what() -> None:
    assert set(families_with("encoder")) >= {"ae", "vae"}
    assert set(families_with("labels")) >= {"gan", "dcgan", "cgan"}
    assert families_with("codes") == ("infogan",)


@pytest.mark.parametrize("name", [name for name, recipe in recipes().items() if recipe().train.images >= 500_000])
def test_a_recipe_of_some_length_is_scored_on_the_way_often_enough_for_a_trend(name):
    spec = recipes()[name]()
    steps = spec.train.images / (spec.train.batch * spec.objective.d_steps)
    assert spec.evaluation.every_steps is not None
    assert LEAST_SCORES <= math.ceil(steps / spec.evaluation.every_steps) <= 32
