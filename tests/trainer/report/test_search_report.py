"""A search's page: what its tables say is what the records hold, whatever state the search is in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_doubles import Page
from search_doubles import BY_ALGORITHM, SPACE, Tables, population, record, results, search, trials
from typer.testing import CliRunner

from trainer.images import GridFacts, grid, save_png
from trainer.report.errors import LeftOut
from trainer.report.page import Charts, Sheet, Table, Text
from trainer.report.search import write_search_report
from trainer.report.search.__main__ import app
from trainer.report.search.best import best_so_far, best_trials, over_images
from trainer.report.search.build import SECTIONS
from trainer.report.search.drawing import Axis, _heights
from trainer.report.search.pictures import pictures
from trainer.search import Choice, TrialClone, TrialRecord, TrialState
from trainer.search.found import Found
from trainer.search.importance import NotKnown, importances
from trainer.search.trial import trial_dir
from trainer.search.values import Scale, wide
from trainer.wire import GRIDS, SearchFile

EVIL = '<script>alert("x")</script>$\\frac{'
ID = "s-0123456789ab"


def written(spec: Any, records: list[TrialRecord], folder: Path, search_id: str | None = ID) -> str:
    return write_search_report(spec, records, folder, search_id=search_id).read_text(encoding="utf-8")


def sections(text: str) -> set[str]:
    return {attributes["id"] for attributes in Page(text).all("section")} - {"absent"}


def words(text: str) -> str:
    return " ".join("".join(Page(text).text).split())


@pytest.mark.parametrize(
    "algorithm", ["pbt", *(pytest.param(name, marks=pytest.mark.long) for name in ("random", "grid", "asha+optuna"))]
)
def test_every_algorithms_page_is_whole_and_loads_nothing(algorithm: str, tmp_path: Path) -> None:
    spec = search(algorithm)
    records = population(spec, 8) if algorithm == "pbt" else trials(spec, 12)
    text = written(spec, records, tmp_path)
    page = Page(text)
    assert all(url.startswith("#") for url in page.loads()), page.loads()
    assert not page.all("script")
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    shown = sections(text)
    assert {"best", "scores", "importance", "parallel", "fields", "searched"} <= shown
    assert ("lineage" in shown) == (algorithm == "pbt")
    for section in SECTIONS:
        assert section.title in words(text)
        assert "it failed" not in words(text)
    assert not list(tmp_path.glob(".*"))


def test_the_best_trials_are_seen_by_their_newest_grid_that_can_be_read(tmp_path: Path) -> None:
    spec = search()
    records = trials(spec, 8)
    best = sorted((r for r in records if r.score is not None), key=lambda r: r.score or 0.0)
    for one, steps in zip(best, ([100, 200], [100], [], [300], [300], [300]), strict=False):
        for step in steps:
            images = np.full((30, 8, 8, 1), 40, np.uint8)
            path = trial_dir(tmp_path, one.id) / GRIDS / f"step-{step:09d}.png"
            save_png(path, grid(images, 3), GridFacts.of(images, 3, step, 64 * step))
    (trial_dir(tmp_path, best[0].id) / GRIDS / "step-000000200.png").write_bytes(b"cut off")
    (sheet,) = pictures(Found(spec, records, ID, tmp_path))
    assert isinstance(sheet, Sheet)
    assert [row.label for row in sheet.rows] == [f"★ {best[0].id}", best[1].id, best[3].id, best[4].id]
    assert sheet.rows[0].note == f"fid {best[0].score:.4g}, after 6,400 images"
    with pytest.raises(LeftOut, match="not at hand"):
        pictures(Found(spec, records))


def test_trials_stand_in_the_order_of_their_scores_with_the_records_numbers(tmp_path: Path) -> None:
    spec = search()
    records = trials(spec, 20)
    head, *rows = Tables(written(spec, records, tmp_path)).found["best"][0]
    assert head == ["trial", "state", "fid ± spread", "images", *SPACE]
    scored = sorted((r for r in records if r.score is not None), key=lambda r: r.score or 0.0)
    assert any(r.state is TrialState.DIVERGED for r in records)
    assert len(rows) == len(scored)
    for row, trial in zip(rows, scored, strict=True):
        assert row[0].removeprefix("★ ") == trial.id
        assert row[1:4] == ["completed", f"{trial.score:.4g} ± {trial.spread:.2g}", f"{trial.images:,}"]
        assert [float(cell) for cell in row[4:]] == [pytest.approx(trial.values[path], rel=1e-4) for path in SPACE]
    assert [row[0][0] for row in rows] == ["★"] + ["t"] * (len(rows) - 1)


@pytest.mark.parametrize(("metric", "first"), [("fid", "t-00001"), ("precision", "t-00002")])
def test_of_a_metric_whose_greatest_value_is_best_the_greatest_comes_first(
    metric: str, first: str, tmp_path: Path
) -> None:
    spec = search(metric=metric)
    values = {"optimizers.G.lr": 1e-3, "train.batch": 32, "optimizers.G.beta1": 0.5}
    records = [record(n, values, results=results(score)) for n, score in enumerate((0.5, 0.2, 0.9))]
    text = written(spec, records, tmp_path)
    assert Tables(text).found["best"][0][1][0] == f"★ {first}"
    assert f"agon submit --from-trial {ID}/{first}" in words(text)
    _, best = best_so_far(Found(spec, records))
    assert best == sorted(best, reverse=metric == "fid")


def test_what_the_best_trial_changes_is_listed_with_the_fields_that_follow(tmp_path: Path) -> None:
    spec = search()
    values = {"optimizers.G.lr": 0.0125, "train.batch": 16, "optimizers.G.beta1": 0.25}
    changed = Tables(written(spec, [record(0, values, results=results(3.0))], tmp_path)).found["best"][1]
    base = spec.base.optimizers
    assert changed == [
        ["field", "base", "t-00000"],
        ["optimizers.G.lr", f"{base['G'].lr:g}", "0.0125"],
        ["optimizers.D.lr", f"{base['D'].lr:g}", "0.0125"],
        ["train.batch", str(spec.base.train.batch), "16"],
        ["optimizers.G.beta1", "0.5", "0.25"],
    ]


def test_without_the_service_the_best_spec_is_there_to_be_saved(tmp_path: Path) -> None:
    spec = search()
    text = words(written(spec, trials(spec, 3), tmp_path, search_id=None))
    assert "agon submit best.yaml" in text
    assert "--from-trial" not in text
    assert "lr: " in text


def test_a_failed_trial_is_never_the_best_and_a_diverged_one_has_no_score(tmp_path: Path) -> None:
    spec = search()
    values = {"optimizers.G.lr": 1e-3, "train.batch": 32, "optimizers.G.beta1": 0.5}
    records = [
        record(0, values, TrialState.FAILED, reason="workers lost 3 times", results=results(1.0, 2)),
        record(1, values, results=results(5.0)),
        record(2, values, TrialState.DIVERGED, reason="G collapsed", results=results(0.5, 2)),
    ]
    tables = Tables(written(spec, records, tmp_path)).found
    assert [row[0] for row in tables["best"][0][1:]] == ["★ t-00001", "t-00000"]
    assert [row[:5] for row in tables["failures"][0][1:]] == [
        ["t-00000", "failed", "16,000", "workers lost 3 times", "1"],
        ["t-00002", "diverged", "16,000", "G collapsed", "–"],
    ]


@pytest.mark.parametrize("metric", ["fid", "precision"])
@pytest.mark.parametrize("ended", [TrialState.COMPLETED, TrialState.DIVERGED])
def test_importance_finds_what_the_best_have_in_common_not_the_worst(metric: str, ended: TrialState) -> None:
    """High rates make the worst quarter, whether it has bad scores or diverged; among the others β₁ alone decides."""
    spec = search(metric=metric)
    records = []
    for number, values in enumerate(trial.values for trial in trials(spec, 60)):
        beta1, bad = float(values["optimizers.G.beta1"]), float(values["optimizers.G.lr"]) > 1e-2
        score = (1.0 if spec.minimises else -1.0) * (100.0 if bad else 1.0 + beta1)
        records.append(record(number, values, ended if bad else TrialState.COMPLETED, results=results(score)))
    shares = importances(Found(spec, records))
    assert next(iter(shares)) == "optimizers.G.beta1"
    assert shares["optimizers.G.beta1"] > 0.6
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(("count", "said"), [(0, "0 of the trials"), (7, "7 of the trials have finished; under 8")])
def test_importance_of_few_trials_is_left_out_with_the_reason(count: int, said: str, tmp_path: Path) -> None:
    spec = search()
    records = [trial.replace(state=TrialState.COMPLETED) for trial in trials(spec, count)]
    text = written(spec, records, tmp_path)
    assert "importance" not in sections(text)
    assert said in words(text)


def test_scores_that_are_all_alike_matter_to_no_field() -> None:
    spec = search()
    with pytest.raises(NotKnown, match="one score"):
        importances(Found(spec, [t.replace(state=TrialState.COMPLETED, results=results(3.0)) for t in trials(spec, 9)]))
    with pytest.raises(NotKnown, match="diverged"):
        importances(Found(spec, [t.replace(state=TrialState.DIVERGED) for t in trials(spec, 9)]))


def test_a_field_that_some_trials_do_not_use_breaks_nothing(tmp_path: Path) -> None:
    space = {
        "objective.loss": ["non-saturating", "hinge"],
        "optimizers.G.beta1": {"uniform": [0.0, 0.9], "when": {"objective.loss": "hinge"}},
    }
    spec = search(space=space)

    def hinge_is_better(values: dict[str, Any]) -> float:
        return 5.0 + values["optimizers.G.beta1"] if "optimizers.G.beta1" in values else 50.0

    records = trials(spec, 30, hinge_is_better)
    text = written(spec, records, tmp_path)
    assert {"importance", "parallel", "fields"} <= sections(text)
    assert "not used" in words(text)
    rows = Tables(text).found["best"][0][1:]
    assert {row[5] == "–" for row in rows if row[4] == "non-saturating"} == {True}
    assert {row[5] == "–" for row in rows if row[4] == "hinge"} == {False}
    assert "objective.loss = hinge" in words(text)


def test_a_search_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    spec = search("asha")
    values = {"optimizers.G.lr": 1e-3, "train.batch": 32, "optimizers.G.beta1": 0.5}
    for records in ([], [record(0, values, TrialState.PENDING)], [record(0, values, TrialState.RUNNING, images=640)]):
        text = written(spec, records, tmp_path)
        assert sections(text) == {"searched"}
        assert "no trial has a score yet" in words(text)
    running = [record(0, values, TrialState.RUNNING, results=results(7.0, 3)), record(1, values, TrialState.PENDING)]
    text = written(spec, running, tmp_path)
    assert "best" in sections(text)
    assert "trials run" in words(text)
    assert "1 pending, 1 running" in words(text)


def test_the_best_so_far_counts_the_images_of_every_trial(tmp_path: Path) -> None:
    spec = search()
    values = {"optimizers.G.lr": 1e-3, "train.batch": 32, "optimizers.G.beta1": 0.5}
    records = [
        record(0, values, results=results(9.0, 2, every=1000)),
        record(1, values, TrialState.DIVERGED, results=results(0.1, 1, every=1000), images=1500),
        record(2, values, results=results(4.0, 1, every=1000)),
    ]
    assert best_so_far(Found(spec, records)) == ([1000.0, 2000.0, 4500.0], [27.0, 9.0, 4.0])


def test_clones_are_listed_with_what_they_changed_and_the_best_ones_ancestry(tmp_path: Path) -> None:
    spec = search("pbt")
    records = population(spec, 6)
    best = records[-1]
    records = [t.replace(results=results(9.0)) for t in records[:-1]] + [best.replace(results=results(1.0))]
    later = TrialClone(
        source="t-00001", step=600, images=48_000, values=records[1].values
    )  # after it was copied itself
    records[0] = records[0].replace(clones=(later,))
    text = written(spec, records, tmp_path)
    rows = Tables(text).found["lineage"][0][1:]
    assert [row[:4] for row in rows] == [
        ["t-00004", "16,000", "t-00000", "200"],
        ["t-00005", "16,000", "t-00000", "200"],
        ["t-00005", "32,000", "t-00004", "400"],
        ["t-00000", "48,000", "t-00001", "600"],
    ]
    first, last = best.clones
    assert rows[2][4] == f"optimizers.G.beta1: {first.values['optimizers.G.beta1']:.5g} → 0.5"
    assert "t-00005 ← t-00004 (at 32,000 images) ← t-00000 (at 16,000 images)." in words(text)
    assert best.current == last.values  # what is listed as the best trial's values, too
    assert Tables(text).found["best"][0][1][4] == f"{last.values['optimizers.G.lr']:.5g}"


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    spec = search(space=BY_ALGORITHM["pbt"])
    evil = Choice(
        values=(EVIL, "builtin:digits")
    )  # no field that may be searched over takes any text; a page trusts none
    spec = spec.model_copy(update={"space": {**spec.space, "data.url": evil}})
    records = [
        record(
            n, {**trial.values, "data.url": EVIL}, TrialState.FAILED, reason=f"{EVIL}\x00\x1b[31m", results=results(3.0)
        )
        for n, trial in enumerate(trials(spec, 3))
    ] + [
        record(9, {"data.url": EVIL, EVIL: EVIL}, results=results(2.0)),
        record(10, {"data.url": EVIL}, results=results(4.0)),
    ]
    text = write_search_report(spec, records, tmp_path, search_id=f"s; rm -rf {EVIL}").read_text()
    page = Page(text)
    assert not page.all("script")
    assert "<script" not in text
    assert EVIL in "".join(page.text)
    assert "it failed" not in words(text)
    assert "agon submit --from-trial 's; rm -rf" in words(text)


def test_places_on_an_axis_are_the_distributions_own() -> None:
    space = search(space={**SPACE, "train.seed": {"randint": [1, 1000], "log": True}}).space
    rate, batch, seed = (Scale.of(space[path]) for path in ("optimizers.G.lr", "train.batch", "train.seed"))
    assert (rate.log, seed.log, batch.log) == (True, True, False)
    assert [batch.place(value) for value in (16, 64, 17, "16")] == [0.0, 2.0, None, None]
    assert [rate.place(value) for value in (0.1, 0.0, -1, "x", True)] == [0.1, None, None, None, None]
    assert _heights(Axis("lr", rate, [1e-4, 1e-3, None, 1e-2])) == pytest.approx([0.0, 0.5, -0.15, 1.0])
    assert _heights(Axis("batch", batch, [0.0, 2.0])) == [0.0, 1.0]
    assert not wide([1.0, 9.0])
    assert wide([1.0, 11.0])
    assert not wide([-1.0, 100.0])


def test_the_command_reads_a_search_s_folder(tmp_path: Path) -> None:
    spec = search("asha")
    file = SearchFile(
        job_id=ID, attempt=1, job_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"), api_url="http://api", spec=spec
    )
    (tmp_path / "search.json").write_text(file.model_dump_json())
    for trial in trials(spec, 4):
        (tmp_path / "trials" / trial.id).mkdir(parents=True)
        (tmp_path / "trials" / trial.id / "trial.json").write_text(trial.model_dump_json())
    done = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    path = Path(done.stdout.strip())
    assert f"agon submit --from-trial {ID}/t-0000" in words(path.read_text())
    (tmp_path / "search.json").write_text(json.dumps({"spec": {}}))
    refused = CliRunner().invoke(app, [str(tmp_path), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 1
    assert "is no search's folder" in refused.stderr
    assert CliRunner().invoke(app, [str(tmp_path / "none"), "--out", str(tmp_path)]).exit_code == 1


@pytest.mark.long
def test_a_search_s_page_is_made_without_torch() -> None:
    code = "import sys, trainer.report.search.__main__; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_many_trials_are_cut_to_what_can_be_looked_at_saying_so() -> None:
    spec = search()
    found = Found(spec, trials(spec, 400))
    said, table, *_ = best_trials(found)
    assert isinstance(said, Text)
    assert isinstance(table, Table)
    assert said.text.startswith(f"The first 30 of {len(found.ranked)}; {len(found.diverged)} without a score")
    assert len(table.rows) == 30
    drawn, *_ = over_images(found)
    assert isinstance(drawn, Charts)
    assert "300 of 400 trials are drawn" in drawn.caption
    assert "of each trial: 300 trials" in drawn.charts[0].svg
