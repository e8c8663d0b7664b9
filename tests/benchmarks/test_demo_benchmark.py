"""The demo's benchmark: whom its judge believes, what it calls variety, and which figures its targets are of."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import demo
from benchmarks.common import Report

CLASSES = 3


def stripes(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise [count, 8, 8, 1] under a bright row, whose place is the class."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (count, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(count, dtype=np.int64) % CLASSES
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 1] = 255
    return images, labels


@pytest.fixture(scope="module")
def judge() -> demo.Judge:
    return demo.train_judge(*stripes(600, 0), epochs=6)


@pytest.mark.long
def test_a_judges_accuracy_is_of_images_that_it_has_not_seen() -> None:
    images, _ = stripes(200, 0)
    nothing_to_learn = np.random.default_rng(1).integers(0, CLASSES, 200)
    found = demo.train_judge(images, nothing_to_learn, epochs=30)
    own = float((demo.predictions(found.nets[0], demo.channels_first(images)) == nothing_to_learn)[1::5].mean())
    assert own > 0.9, "it has learned by heart what it has seen"
    assert found.accuracy.value < 0.5
    assert found.accuracy.count == 200


def test_a_judge_reads_images_that_nobody_has_seen(judge: demo.Judge) -> None:
    images, labels = stripes(90, 7)
    assert judge.accuracy.value > 0.95
    assert (judge.read(images) == labels).mean() > 0.95


def test_variety_is_1_for_fresh_real_images_and_0_for_one_picture_of_each_class(judge: demo.Judge) -> None:
    images, labels = stripes(600, 7)
    assert judge.variety(images, labels) == pytest.approx(1.0, abs=0.15)
    assert judge.variety(images[labels], labels) == pytest.approx(0.0, abs=1e-9)


def test_shares_by_class_are_of_what_was_asked() -> None:
    asked, found = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 0, 1])
    assert demo.by_class(found, asked, 2) == [0.75, 0.5]


def row(recipe: str, agreement: float, by_class: str, **scores: float) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "agreement": agreement,
        "by_class": by_class,
        "fid": 4.0,
        "recall": 0.8,
        "precision": 0.7,
        **scores,
    }


def test_targets_are_missed_by_one_bad_seed_or_one_bad_class_or_less_recall(tmp_path: Path) -> None:
    rows = [
        row("before", 90.0, "80.0 100.0"),
        row("now", 99.0, "99.0 99.0", fid=3.0, recall=0.7),
        row("now", 96.0, "92.0 100.0", fid=3.0, recall=0.8),
        row("now", 99.0, "92.0 100.0", fid=3.0, recall=0.8),
    ]
    report = Report("demo", argparse.Namespace(seed=0, quick=False, out=tmp_path / "report.json"))
    demo.targets(report, rows)
    assert report.finish() == 1
    held = {target["name"]: target["holds"] for target in json.loads(report.out.read_text())["targets"]}
    assert held == {
        "asked label is read, mean of 3 run(s)": True,
        "asked label is read, least of 3 run(s)": False,
        "asked label is read, worst class (0), mean of 3 run(s)": False,
        "Fréchet distance: before's": True,
        "precision: before's": True,
        "recall: before's": False,
    }


@pytest.mark.long
def test_a_quick_run_trains_both_recipes_and_draws_them_and_one_of_them_alone_keeps_the_others_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.json"
    monkeypatch.setattr(sys, "argv", ["demo", "--quick", "--out", str(out), "--pictures", str(tmp_path)])
    assert demo.main() == 0
    rows = {row["recipe"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows.keys() == {"real", "before", "now"}
    assert {path.name for path in tmp_path.glob("*.png")} == {"demo-before-0.png", "demo-now-0.png"}
    assert [row["recipe"] for row in demo.kept(out, ["now"])] == ["before"]
    assert demo.kept(out, ["now"])[0] == rows["before"]
    assert demo.kept(tmp_path / "none.json", ["now"]) == []
