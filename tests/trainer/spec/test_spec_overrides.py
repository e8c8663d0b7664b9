"""`path=value` overrides do what the path says, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.families.table import recipes
from trainer.spec import JobSpec, Sgd, SpecError, with_overrides, with_values

json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["kind", "family", "lr", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def base(recipe: str = "dcgan-digits") -> JobSpec:
    return recipes()[recipe]()


def value_at(spec: JobSpec, path: str) -> Any:
    node: Any = spec.model_dump(mode="json")
    for part in path.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("train.images", "1e6", 1_000_000),
        ("train.images", "1_000", 1000),
        ("optimizers.G.lr", "1e-4", 1e-4),
        ("optimizers.D.schedule.kind", "linear", "linear"),
        ("evaluation.metrics", "[fid, recall]", ["fid", "recall"]),
        ("ema", "null", None),
        ("data.mirror", "true", True),
        ("data.url", "/data/my: set", "/data/my: set"),
        ("name", "123", "123"),
        ("name", "1e5", "1e5"),
        ("name", "on", "on"),
        ("name", "'quoted'", "quoted"),
        ("publish.model", "007", "007"),
        ("publish.model", "null", "null"),
        ("data.digest", "null", None),
        ("data.digest", "1" * 64, "1" * 64),
        ("arch.latent.dim", "7", 7),
        ("resources.min_workers", "1", 1),
    ],
)
def test_values_mean_what_the_field_says(path: str, text: str, expected: object) -> None:
    spec = with_overrides(base(), [f"{path}={text}"]) if path != "data.url" else None
    if spec is None:
        with pytest.raises(SpecError, match="scheme"):  # a path with a colon is no URL of ours
            with_overrides(base(), [f"{path}={text}"])
        return
    assert value_at(spec, path) == expected


@examples(50)
@given(seed=st.integers(0, 2**31 - 1), lr=st.floats(1e-8, 10))
def test_any_number_comes_through(seed: int, lr: float) -> None:
    spec = with_overrides(base(), [f"train.seed={seed}", f"optimizers.G.lr={lr}"])
    assert (spec.train.seed, spec.optimizers["G"].lr) == (seed, lr)


def test_nothing_else_changes() -> None:
    before, after = base(), with_overrides(base(), ["train.seed=5"])
    assert after == before.replace(train=before.train.replace(seed=5))
    assert with_overrides(before, []) == before


def test_later_assignments_win() -> None:
    assert with_overrides(base(), ["train.seed=5", "train.seed=6"]).train.seed == 6


def test_a_value_may_hold_an_equals_sign() -> None:
    assert with_overrides(base(), ["data.url=a=b"]).data.url == "a=b"


def test_a_new_kind_keeps_what_it_shares_and_takes_its_defaults_for_the_rest() -> None:
    spec = with_overrides(
        base(), ["optimizers.G.weight_decay=0.5", "optimizers.G.kind=sgd", "optimizers.G.momentum=0.9"]
    )
    g = spec.optimizers["G"]
    assert isinstance(g, Sgd)
    assert (g.lr, g.weight_decay, g.momentum) == (base().optimizers["G"].lr, 0.5, 0.9)
    changed = with_overrides(base(), ["arch.family=gan"])
    assert (changed.arch.family, changed.arch.resolution, changed.arch.classes) == ("gan", 16, 10)


def test_items_of_a_list_go_by_index() -> None:
    spec = with_overrides(
        base("wgan-gp-digits"), ["objective.penalties.0.weight=3", "objective.penalties.1={kind: r1}"]
    )
    assert [(p.kind, p.model_dump().get("weight")) for p in spec.objective.penalties] == [
        ("gradient-penalty", 3.0), ("r1", 10.0),
    ]  # fmt: skip
    swapped = with_overrides(base("wgan-gp-digits"), ["objective.penalties.0.kind=clip"])
    assert swapped.objective.penalties[0].kind == "clip"


@pytest.mark.parametrize(
    ("assignment", "path", "says"),
    [
        ("train.seed", "train.seed", "write path=value"),
        ("=5", "=5", "write path=value"),
        ("trai.seed=5", "trai.seed", "did you mean 'train'?"),
        ("train.sead=5", "train.sead", "did you mean 'seed'?"),
        ("train.seed.x=5", "train.seed.x", "no section 'seed'"),
        ("train=5", "train", "valid dictionary"),
        ("train.seed=-1", "train.seed", "greater than or equal to 0"),
        ("train.seed=[1", "train.seed", "not valid YAML"),
        ("optimizers.E.lr=1", "optimizers.E.kind", "one of adam"),
        ("optimizers.E={kind: adam}", "optimizers.E", "no player"),
        ("objective.penalties.0.weight=1", "objective.penalties.0.weight", "no section '0'"),
        ("objective.penalties.3={kind: clip}", "objective.penalties.3", "no item"),
        ("objective.penalties.x={kind: clip}", "objective.penalties.x", "no item"),
    ],
)
def test_what_cannot_be_assigned_is_refused_with_its_path(assignment: str, path: str, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        with_overrides(base(), [assignment])
    assert path in [error.path for error in caught.value.errors]
    assert says in str(caught.value)


def test_an_invalid_result_is_refused_as_a_whole() -> None:
    with pytest.raises(SpecError, match=r"train\.batch"):
        with_overrides(base(), ["data.lanes=7", "resources.workers=1"])
    assert with_overrides(base(), ["data.lanes=7", "resources.workers=1", "train.batch=70"]).train.batch == 70


@examples(150)
@given(
    path=st.sampled_from(
        [
            "name", "train.images", "train.micro_batch", "evaluation.metrics", "objective.penalties", "optimizers.G", "arch",
            "arch.family", "optimizers.G.kind", "data.url", "ema", "arch.latent", "optimizers.G.lr", "data.digest",
        ]
    )
    | st.text(max_size=30)
    | st.lists(st.sampled_from(["train", "images", "evaluation", "metrics", "0", "9" * 5000, "٣", "", "G"]), max_size=4).map(".".join),
    value=st.text(max_size=40) | json_like,
)  # fmt: skip
def test_any_value_at_any_path_makes_a_spec_or_is_refused_field_by_field(path: str, value: Any) -> None:
    try:
        spec = with_values(base(), [(path, value)])
    except SpecError:
        return
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_every_wrong_assignment_is_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        with_overrides(
            base(), ["optimizers.G.lr=abc", "train.images=-5", "foo.bar=1", "train.sed", "evaluation.metrics.0.a=1"]
        )
    paths = {error.path for error in caught.value.errors}
    assert paths == {"optimizers.G.lr", "train.images", "foo.bar", "train.sed", "evaluation.metrics.0.a"}


def test_text_is_taken_as_it_stands_but_for_quotes_around_it() -> None:
    for text in ("/data/a #b", "/data/[x", "s3://b/{x}", "/data/!x"):
        assert with_overrides(base(), [f"data.url={text}"]).data.url == text
    assert with_overrides(base(), ["data.url='/data/it''s'"]).data.url == "/data/it's"
