"""Labels and notes of a spec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.families.table import recipes
from trainer.search import parse_search
from trainer.spec import SpecError, parse_spec, with_overrides, with_values
from trainer.spec.identity import identity

SPEC = recipes()["dcgan-digits"]()
LABEL = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?", fullmatch=True)
VALUE = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", fullmatch=True)


@examples(30)
@given(st.dictionaries(LABEL, VALUE, max_size=32))
def test_labels_come_back_as_they_were_given_and_change_nothing_of_the_training(labels: dict[str, str]) -> None:
    spec = parse_spec({**SPEC.model_dump(mode="json"), "labels": labels})
    assert spec.labels == labels
    assert list(spec.labels) == sorted(labels)
    assert identity(spec) == identity(SPEC)
    again = with_values(SPEC, [(f"labels.{name}", value) for name, value in labels.items() if value != "null"])
    assert again.labels == {name: value for name, value in labels.items() if value != "null"}


@pytest.mark.parametrize(
    "labels",
    [
        {"a.b": "c"}, {"": "x"}, {"x": ""}, {"-x": "y"}, {"x-": "y"}, {"x": "y/z"}, {"x": "a b"}, {"x" * 64: "y"}, {"x": "y" * 64},
        {"x": 1.5}, {"x": None}, {"x": ["y"]}, {"é": "y"}, {"x": "y\n"}, {"x\n": "y"}, {f"n{n}": "x" for n in range(33)}, ["x"], "x=y",
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_label_is_named(labels: object) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec({**SPEC.model_dump(mode="json"), "labels": labels})
    assert {error.path.partition(".")[0] for error in refused.value.errors} == {"labels"}
    assert all(error.message and error.fix for error in refused.value.errors)


def test_yaml_may_write_numbers_and_truths_where_a_label_has_text() -> None:
    spec = parse_spec({**SPEC.model_dump(mode="json"), "labels": {7: True, "seed": 3}})
    assert spec.labels == {"7": "true", "seed": "3"}
    assert parse_spec({**SPEC.model_dump(mode="json"), "labels": None}).labels == {}


def test_null_takes_a_label_out_and_leaves_the_others() -> None:
    spec = with_overrides(SPEC, ["labels.a=1", "labels.b=two", "labels.c=three"])
    assert spec.labels == {"a": "1", "b": "two", "c": "three"}
    assert with_overrides(spec, ["labels.a=null", "labels.b="]).labels == {"c": "three"}
    assert with_values(spec, [("labels.c", None), ("labels.d", None)]).labels == {"a": "1", "b": "two"}
    assert with_overrides(spec, ["labels={x: y}"]).labels == {"x": "y"}
    assert with_overrides(spec, ["labels=null"]).labels == {}


def test_notes_are_text_that_a_terminal_can_show() -> None:
    spec = with_overrides(SPEC, ["notes=lr: 1e-4\r\n\tworks  – better"])
    assert spec.notes == "lr: 1e-4\n\tworks  – better"
    for text in ("\x1b[31mred", "bell\a", "\u202etxt", "x" * 4001):
        with pytest.raises(SpecError, match="notes"):
            with_overrides(SPEC, [f"notes={text}"])


def test_a_search_has_labels_of_its_own_and_varies_none() -> None:
    raw = {"base": {"recipe": "dcgan-digits", "set": {"labels.of": "trials"}}, "space": {"train.seed": [1, 2]}}
    search = parse_search({**raw, "labels": {"of": "search"}, "notes": "why"})
    assert (search.labels, search.base.labels, search.notes) == ({"of": "search"}, {"of": "trials"}, "why")
    with pytest.raises(SpecError, match="can't be searched over"):
        parse_search({**raw, "space": {"labels.of": ["a", "b"]}})
