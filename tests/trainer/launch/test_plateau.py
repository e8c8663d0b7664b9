"""A training whose score gets no better for too long ends itself, alone and after restarts; a search over all its trials."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from rollback_runs import Hook, small, train, warnings

from trainer.checkpoint import latest, step_path
from trainer.engine.events import Event, LimitReached, Run, RunFinished, Scored, StepDone
from trainer.launch import compose
from trainer.launch.plateau import Standing
from trainer.launch.tune.plateau import Plateau
from trainer.search import parse_search
from trainer.spec import JobSpec, SpecError

EVERY, BATCH = 4, 16


def spec(*changes: str) -> JobSpec:
    """40 steps, a score every 4; 10 steps without a better one end it."""
    scored = [
        f"evaluation.every_steps={EVERY}",
        "evaluation.metrics=[fid, recall]",
        "sentinel=null",
        "checkpoint.keep_best=false",
    ]
    return small(*scored, f"limits.no_better_after={10 * BATCH}", *changes)


class Scores:
    """In the place of the Evaluator: the scores of a list, by the number of the evaluation."""

    def __init__(self, values: list[float], metric: str = "fid") -> None:
        self.values, self.metric = values, metric

    def __call__(self, *_: Any) -> Scores:
        return self

    def handle(self, event: Event, run: Run) -> None:
        if isinstance(event, StepDone) and event.step % EVERY == 0 and not event.last:
            value = self.values[event.step // EVERY - 1]
            run.emit(Scored(event.step, event.images, {self.metric: value}, {}))

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(compose, "Reporting", compose.Reporting)
    return lambda *given: monkeypatch.setattr(compose, "Evaluator", Scores(*given))


def test_it_ends_with_a_checkpoint_and_its_reason_after_a_warning(tmp_path: Path, cache: Path, scored: Any) -> None:
    hook = Hook()
    scored([9.0, 5.0, 6.0, 5.5, 5.0, 1.0, 1.0, 1.0, 1.0])
    assert train(spec(), tmp_path, cache, hook) == "stopped"
    (limit,) = hook.of(LimitReached)
    reason = "limits.no_better_after: fid has not been better than 5 for 192 of 160 images"
    assert (limit.limit, limit.reason, limit.step) == ("no_better_after", reason, 20)
    (end,) = hook.of(RunFinished)
    assert end.step == 21
    assert latest(tmp_path / "checkpoints") == step_path(tmp_path / "checkpoints", 21)
    assert [message for message in warnings(hook) if "no_better_after" in message] == []
    scored([9.0, 5.0, 6.0, 5.5, 5.0, 5.0, 5.0, 1.0, 1.0])
    hook = Hook()
    assert train(spec("limits.no_better_after=340"), tmp_path / "other", cache, hook) == "completed"
    (warning,) = [message for message in warnings(hook) if "no_better_after" in message]
    assert warning.endswith("fid has not been better than 5 for 320 of 340 images")
    assert hook.of(LimitReached) == []


def test_a_restart_asks_of_the_same_best_score(tmp_path: Path, cache: Path, scored: Any) -> None:
    scored([1.0, 5.0, 6.0, 5.5, 5.0, 1.0, 1.0, 1.0, 1.0])

    def stop(step: int, run: Run) -> None:
        if step == 9:
            run.request_stop("asked to")

    assert train(spec(), tmp_path, cache, Hook(stop)) == "stopped"
    hook = Hook()
    assert train(spec(), tmp_path, cache, hook) == "stopped"
    (limit,) = hook.of(LimitReached)
    assert (limit.step, "better than 1 for 192 of" in limit.reason) == (16, True)
    hook = Hook()
    assert train(spec("limits.no_better_after=100000"), tmp_path, cache, hook) == "completed", "raised, it goes on"


def test_the_metric_is_the_one_that_the_best_checkpoint_is_kept_by(tmp_path: Path, cache: Path, scored: Any) -> None:
    rising = [number / 10 for number in range(1, 10)]
    hook = Hook()
    scored(rising, "recall")
    assert train(spec("evaluation.metrics=[recall, fid]"), tmp_path, cache, hook) == "completed", "higher is better"
    assert hook.of(LimitReached) == []
    scored(rising, "fid")
    assert train(spec("evaluation.metrics=[recall, fid]"), tmp_path / "fid", cache, hook) == "completed", (
        "nobody asks fid"
    )


def test_a_job_that_is_not_scored_before_its_end_takes_no_such_limit() -> None:
    for change in ("evaluation.every_steps=null", "evaluation.metrics=[]"):
        with pytest.raises(SpecError, match=r"limits.no_better_after: is never asked"):
            spec(change)


@examples(60)
@given(
    st.lists(st.floats(-100, 100) | st.just(float("nan")), min_size=1, max_size=20), st.sampled_from(["fid", "recall"])
)
def test_the_best_is_the_first_of_the_best_finite_scores(values: list[float], metric: str) -> None:
    standing = Standing()
    for number, value in enumerate(values):
        standing = standing.with_score(metric, value, number)
    finite = [value for value in values if value == value]
    best = (max if metric == "recall" else min)(finite, default=None)
    assert standing.value == best
    assert standing.images == (values.index(best) if best is not None else 0)


def record(images: int, *scores: float) -> Any:
    return SimpleNamespace(images=images, results=scores, score=scores[-1] if scores else None)


class Book:
    """Of a search."""

    def __init__(self, after: int) -> None:
        raw = {"base": "gan-digits", "space": {"optimizers.G.lr": {"loguniform": [1e-4, 1e-2]}}}
        self.search = parse_search({**raw, "limits": {"no_better_after": after}})
        self.records: list[Any] = []

    @property
    def images(self) -> int:
        return sum(item.images for item in self.records)

    def best(self) -> Any:
        return min((item for item in self.records if item.results), key=lambda item: item.score, default=None)


def test_a_search_ends_when_no_trial_has_beaten_the_best_for_so_many_images_of_all(tmp_path: Path) -> None:
    book: Any = Book(1000)
    plateau = Plateau(book, tmp_path)
    assert plateau.look() == (None, None)
    book.records = [record(500, 9.0), record(500)]
    assert plateau.look() == (None, None)
    book.records = [record(1000, 9.0, 9.5), record(950, 9.1)]
    over, warning = plateau.look()
    assert (over, warning) == (None, "limits.no_better_after: fid has not been better than 9 for 950 of 1,000 images")
    book.records = [record(1000, 9.0, 9.5), record(990, 9.1, 9.2)]
    assert plateau.look() == (None, None), "warned once"
    again = Plateau(book, tmp_path)
    book.records = [record(1000, 9.0, 9.5), record(3000, 9.1, 9.2)]
    assert again.look() == (None, None), "only after an evaluation that is new to this driver"
    book.records = [record(1000, 9.0, 9.5), record(3000, 9.1, 9.2, 9.3)]
    assert again.look() == ("limits.no_better_after: fid has not been better than 9 for 3,000 of 1,000 images", None)
    book.records = [record(1000, 9.0, 9.5), record(3000, 9.1, 9.2, 9.3, 2.0)]
    assert again.look() == (None, None)
