"""Specs as text: they come back as they were, and say what is wrong with what is not one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from properties import examples

from trainer.families.dcgan.arch import DcganArch
from trainer.families.gan.arch import GanArch
from trainer.families.table import recipes
from trainer.spec import (
    Adam,
    Checkpointing,
    Data,
    Ema,
    JobSpec,
    Objective,
    Publish,
    Resources,
    RMSProp,
    Schedule,
    Sgd,
    SpecError,
    Train,
    dump_spec,
    load_spec,
    parse_spec,
)
from trainer.spec.sections import R1, Clip, GradientPenalty
from trainer.spec.text import read_yaml, write_yaml

positive = st.floats(1e-6, 1.0, exclude_max=True)
schedules = st.builds(
    Schedule, kind=st.sampled_from(["constant", "linear", "exponential"]), start=positive, decay=positive,
    warmup_images=st.integers(0, 10**6),
)  # fmt: skip
optimizers = st.one_of(
    st.builds(Adam, lr=positive, beta1=positive, weight_decay=positive, schedule=schedules),
    st.builds(RMSProp, lr=positive, alpha=positive, schedule=schedules),
    st.builds(Sgd, lr=positive, momentum=positive, final_momentum=st.none() | positive),
)
archs = st.one_of(
    st.builds(
        DcganArch, resolution=st.sampled_from([8, 16, 28, 32, 64, 128]), channels=st.sampled_from([1, 3]),
        classes=st.integers(0, 1000), d_norm=st.just("none"), g_width=st.integers(4, 512), kernel=st.sampled_from([4, 5]),
    ),
    st.builds(GanArch, resolution=st.sampled_from([8, 28, 64]), input_dropout=positive),
)  # fmt: skip
names = st.one_of(
    st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z"),
    st.sampled_from(["1e5", "null", "on", "no", "0x1f", "1-2", "123", "0", "0o7", "1e-4", "true", "2026-01-02"]),
)
penalties = st.lists(
    st.one_of(st.builds(R1, weight=positive, interval=st.integers(1, 64)), st.builds(Clip, bound=positive)),
    max_size=2, unique_by=lambda penalty: penalty.kind,
) | st.just([GradientPenalty()])  # fmt: skip


@st.composite
def specs(draw: st.DrawFn) -> JobSpec:
    workers, per_lane = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    lanes = workers * draw(st.integers(1, 4))
    return JobSpec(
        name=draw(names),
        arch=draw(archs),
        data=Data(url=draw(st.sampled_from(["data/x", "s3://bucket/a b", "/abs/ü", "1e5"])), lanes=lanes),
        objective=Objective(penalties=tuple(draw(penalties)), d_steps=draw(st.integers(1, 5))),
        optimizers={"G": draw(optimizers), "D": draw(optimizers)},
        ema=draw(st.none() | st.builds(Ema, decay=positive)),
        train=Train(batch=lanes * per_lane, seed=draw(st.integers(0, 2**31 - 1)), images=draw(st.integers(1, 10**12))),
        checkpoint=Checkpointing(every_steps=draw(st.integers(1, 10**6))),
        resources=Resources(workers=workers),
        publish=draw(st.none() | st.builds(Publish, model=st.sampled_from(["demo", "123", "1e3", "on", "a.b_c-d"]))),
    )


@examples(60)
@given(spec=specs())
def test_a_spec_comes_back_from_yaml_and_json_with_the_same_digest(spec: JobSpec, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("spec") / "job.yaml"
    for text in (dump_spec(spec), json.dumps(spec.model_dump(mode="json")), spec.canonical()):
        path.write_text(text, encoding="utf-8")
        assert load_spec(path) == spec
        assert load_spec(path).digest() == spec.digest()
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@examples(30)
@given(spec=specs(), seed=st.integers(0, 2**31 - 1))
def test_the_digest_tells_specs_apart_and_forgets_the_order_of_keys(spec: JobSpec, seed: int) -> None:
    other = spec.replace(train=spec.train.replace(seed=seed))
    assert (other.digest() == spec.digest()) is (other == spec)
    turned = dict(reversed(spec.model_dump(mode="json").items()))
    turned["optimizers"] = dict(reversed(turned["optimizers"].items()))
    assert parse_spec(turned).digest() == spec.digest()


def test_the_digest_of_a_pinned_spec_never_changes() -> None:
    """Stored jobs are found by it. If a new field with a default changes it, raise SPEC_VERSION and migrate."""
    spec = JobSpec(arch=GanArch(), optimizers={"G": Adam(), "D": Sgd()}, data=Data(url="data/x"))
    text = spec.canonical()
    assert text.startswith('{"arch":{"channels":1,"classes":0,"d_hidden":240,')
    assert " " not in text
    assert spec.digest() == JobSpec.model_validate_json(text).digest()
    assert len(spec.digest()) == 64


def test_defaults_and_spelled_out_defaults_have_one_digest() -> None:
    short = parse_spec({"arch": {"family": "gan"}, "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}}})
    assert parse_spec(short.model_dump(mode="json")).digest() == short.digest()


def test_numbers_in_yaml_mean_numbers() -> None:
    assert read_yaml("{a: 1e-4, b: 1E6, c: 1.5e3, d: .5e1, e: 5, f: -2e-3, g: x1e5, h: '1e5'}") == {
        "a": 1e-4, "b": 1e6, "c": 1500.0, "d": 5.0, "e": 5, "f": -2e-3, "g": "x1e5", "h": "1e5",
    }  # fmt: skip
    spec = recipes()["gan-digits"]()
    raw = spec.model_dump(mode="json")
    raw["train"]["images"] = read_yaml("1e6")
    assert parse_spec(raw).train.images == 1_000_000


printable = st.text(st.characters().filter(str.isprintable))  # all that the spec's strings admit
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | printable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(printable, inner, max_size=3),
    max_leaves=8,
)


@examples(200)
@given(value=json_values)
def test_any_json_value_survives_yaml(value: object) -> None:
    assert read_yaml(write_yaml(value)) == value


@pytest.mark.parametrize("number", ["1e5", "1E-4", "1.5e+3", "1_0e2"])
def test_text_that_looks_like_a_number_stays_text(number: str) -> None:
    assert read_yaml(write_yaml({"name": number})) == {"name": number}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1, 2", "not valid YAML"),
        ("- a\n- b\n", "holds no mapping"),
        ("", "holds no mapping"),
        ("train: {batch: 8}\ntrain: {batch: 16}\n", "'train' is there twice"),
        ("arch: {family: gan, family: dcgan}\n", "'family' is there twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_spec_is_refused_with_its_name(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=says) as caught:
        load_spec(path)
    assert "job.yaml" in str(caught.value)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not valid YAML"):
        load_spec(tmp_path / "job.yaml")


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_spec(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "yes", "no", "on", "off", "Yes", "~", "2001-12-14", "2001-99-99", "1:30:00", "190:20:30.15", "0x1f", "0o17", "017", "0b1", "1_000",
        ".nan", ".inf", "NaN", "=", "0x_", "+.inf", "12e", "1.2.3", "٣", "True", "NULL",
    ],
)  # fmt: skip
def test_what_is_no_json_scalar_is_text(text: str) -> None:
    assert read_yaml(text) == text
    assert read_yaml(f"a: {text}") == {"a": text}


LETTERS = "abcdefghijk"
BOMB = ",".join(f"&{b} [*{a},*{a},*{a},*{a},*{a}]" for a, b in itertools.pairwise(LETTERS))
BOMB = f"[&a [x,x,x,x],{BOMB}]"


@pytest.mark.parametrize(
    "text",
    [
        "!!int abc", "!!python/object/apply:os.system ['true']", "! x", "!!str 1", "[" * 900, "{a: " * 900, "- " * 900, "9" * 30, "9" * 5000,
        "1e999", '"\\ud800"', '"\\0"', '"\\UFFFFFFFF"', "a: 1\n---\nb: 2", "*a", "&a [*a]", "? [a]\n: b", "%YAML " + "9" * 5000 + ".1\n--- 1",
        "\ud800",
        "a: 1\na: 2", BOMB,
    ],
)  # fmt: skip
def test_what_can_not_be_plain_data_is_refused_as_yaml(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)


@examples(300)
@given(text=st.text(max_size=60) | st.text("[]{}&*!|>-?:,#'\"\\%@`~<=.0123456789eExXaU_ \n\ufeff\0", max_size=60))
def test_any_text_is_plain_data_or_refused_as_yaml(text: str) -> None:
    try:
        value = read_yaml(text)
    except yaml.YAMLError:
        return
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    json.dumps(value, ensure_ascii=False).encode()


@examples(100)
@given(value=json_values)
def test_json_is_read_as_json(value: object) -> None:
    assert read_yaml(json.dumps(value)) == value
    assert read_yaml(json.dumps(value, ensure_ascii=False)) == value


def test_merge_keys_and_anchors_work() -> None:
    text = "a: &adam {kind: adam, lr: 1e-3}\nb: {<<: *adam, lr: 2e-3}\n"
    assert read_yaml(text)["b"] == {"kind": "adam", "lr": 2e-3}
    assert read_yaml("x: {<<: [{k: 1, l: 2}, {k: 3, m: 4}], l: 5}") == {"x": {"k": 1, "l": 5, "m": 4}}
