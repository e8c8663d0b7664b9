"""Which parameters of a checkpoint new nets can take: pure."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.families.table import family, recipes
from trainer.origin.child import parts_in_child
from trainer.origin.facts import is_undone, part_of
from trainer.origin.fit import CHANGED, Part, fit
from trainer.origin.nets import expected, parts
from trainer.spec import JobSpec, SpecError, with_overrides

NAMES = st.builds(
    "{}/{}.{}".format,
    st.sampled_from("GD"),
    st.sampled_from(["a", "b", "c.d"]),
    st.sampled_from(["weight", "bias", "u"]),
)
SHAPES = st.sampled_from([(2,), (3,), (2, 3), ()])
WORDS = st.lists(st.sampled_from([CHANGED, "D", "G/a.*", "*/b.weight", "Q", "D/c.d.u"]), max_size=3)


def part(name: str, shape: tuple[int, ...]) -> Part:
    return Part(shape, not name.endswith(".u"))


@examples(100)
@given(st.dictionaries(NAMES, SHAPES, max_size=8), st.dictionaries(NAMES, SHAPES, max_size=8), WORDS)
def test_nothing_is_taken_that_does_not_fit_and_nothing_dropped_unasked(
    new: dict[str, Any], saved: dict[str, Any], restart: list[str]
) -> None:
    wanted = {name: part(name, shape) for name, shape in new.items()}
    found = fit(wanted, saved, restart)
    assert all(saved[name] == wanted[name].shape for name in found.taken)
    assert not set(found.taken) & set(found.anew)
    assert set(found.behind) == saved.keys() - wanted.keys()
    if CHANGED in restart:
        assert all(error.path in ("from", "from.restart") for error in found.problems)
    if not found.problems and not restart:
        assert {name: one.shape for name, one in wanted.items()} == saved, "unasked, all of it is taken"


def test_every_misfit_is_named_with_both_shapes_and_the_way_out() -> None:
    wanted = {"G/a.weight": Part((3, 2)), "G/a.u": Part((3,), False), "G/b.weight": Part((2,)), "E/x": Part((1,))}
    saved = {"G/a.weight": (2, 2), "G/a.u": (2,), "G/b.weight": (2,), "D/head.weight": (1, 2)}
    problems = {error.path: error for error in fit(wanted, saved).problems}
    assert problems["G/a.weight"].message == "is [2, 2] in the checkpoint and [3, 2] in the new nets"
    assert problems["E/x"].message == "is new: [1]"
    assert "--restart changed" in problems["D/head.weight"].fix
    assert problems.keys() == {"G/a.weight", "E/x", "D/head.weight"}, "u belongs to its weight"
    assert fit(wanted, saved, ["G/a.weight", "E", "D"]).problems == ()
    assert fit(wanted, saved, ["changed"]).taken == ("G/b.weight",)


def test_what_belongs_to_a_parameter_starts_anew_with_it() -> None:
    wanted = {"D/a.weight": Part((3, 4)), "D/a.u": Part((3,), False), "D/b.weight": Part((1,))}
    found = fit(wanted, {"D/a.weight": (3, 2), "D/a.u": (3,), "D/b.weight": (1,)}, ["changed"])
    assert (found.taken, found.anew) == (("D/b.weight",), ("D/a.weight",))


@pytest.mark.parametrize("restart", [["Q"], ["d"], ["G/nothing"], ["*"]])
def test_words_that_mean_nothing_and_forks_of_nothing_are_refused(restart: list[str]) -> None:
    wanted = {"G/a.weight": Part((3,)), "D/a.weight": Part((3,))}
    (error,) = fit(wanted, {"G/a.weight": (3,), "D/a.weight": (3,)}, restart).problems
    assert error.path == ("from" if restart == ["*"] else "from.restart")


SMALL = ("gan-digits", "cgan-digits", "dcgan-digits", "wgan-gp-digits", "bigan-digits", "infogan-digits", "vae-digits",
         "r3gan-digits", "biggan-digits", "biggan-deep-digits")  # fmt: skip


@pytest.mark.parametrize("recipe", SMALL)
def test_parts_are_known_without_building_the_nets(recipe: str) -> None:
    spec = recipes()[recipe]()
    assert expected(spec) == parts(family(spec.arch.family).build(spec.arch))


@pytest.mark.long
def test_a_child_tells_those_who_have_no_torch() -> None:
    spec = with_overrides(recipes()["gan-digits"](), ["arch.g_hidden=8"])
    assert parts_in_child(spec, seconds=100) == expected(spec)
    code = (
        "import sys, trainer.origin.child, trainer.origin.judge, trainer.origin.hold; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nets_that_can_not_be_built_are_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_arch: Any) -> Any:
        raise ValueError("no room for a layer")

    spec: JobSpec = recipes()["gan-digits"]()
    monkeypatch.setattr(type(family("gan")), "build", lambda self, arch: fail(arch))
    with pytest.raises(SpecError, match="no room"):
        expected(spec)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """Roll backs of a training that saves every step, and its checkpoints (step, roll backs before it) that are not undone."""
    done: list[dict[str, Any]] = []
    kept: dict[int, int] = {}
    step = 0
    for _ in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(1, 5))):
            step += 1
            kept[step] = len(done)
        if draw(st.booleans()):
            to = draw(st.integers(0, step))
            done.append({"to_step": to, "lr_factor": 0.5})
            kept = {saved: count for saved, count in kept.items() if saved <= to}
            step = to
    return done, sorted(kept.items())


@examples(100)
@given(histories())
def test_a_state_stands_behind_the_roll_backs_before_it_and_those_that_came_back_to_it(history: Any) -> None:
    done, kept = history
    for step, count in kept:
        assert not is_undone(done, step, count)
        part = part_of(done, step, count)
        assert part == done[: len(part)]
        assert len(part) >= count
        assert all(later["to_step"] > step for later in done[len(part) :]), "what is left comes again by itself"
    if kept:
        assert part_of(done, *kept[-1]) == done, "the newest goes on as the training does now"
