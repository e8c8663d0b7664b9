"""`agon search`, against the real API."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from service.cli.search import watch as watching
from service.cli.search.app import HELP
from service.cli.search.arguments import VERBS
from service.cli.search.source import read
from service.cli.search.view import SearchView
from service.client import Client, Event
from trainer.families.table import recipes
from trainer.search import SearchSpec, load_search
from trainer.spec import SpecError

Agon = Callable[..., Any]
FILE = """
name: rates
base: {recipe: dcgan-digits, set: {train.images: 1000}}
space: {optimizers.G.lr: {loguniform: [1e-5, 1e-2]}}
algorithm: random
trials: 3
"""
RATES = (1e-4, 2e-4, 5e-3)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "search.yaml"
    path.write_text(FILE)
    return str(path)


def trial(number: int, state: str, score: float | None = None, **fields: Any) -> dict[str, Any]:
    result = {"step": 10, "images": 640, "value": score, "score": score, "spread": 0.5, "seconds": 1.0}
    data = {
        "id": f"t-{number:05d}", "number": number, "state": state, "values": {"optimizers.G.lr": RATES[number]}, "images": 640,
        "seconds": 1.0, "result": result if score is not None else None,
    }  # fmt: skip
    return {"kind": "trial", "data": {**data, **fields}}


STARTED = {"kind": "started", "data": {"total_images": None, "resumed_from": None, "workers": 2, "device": "search"}}
PROGRESS = {"kind": "progress", "images": 1920, "data": {"metrics": {"ended": 2.0}, "images_per_second": 64.0}}
FINISHED = {"kind": "finished", "data": {"outcome": "completed"}}
STORY = [
    STARTED, trial(0, "running"), trial(1, "running"), trial(0, "running", 9.0), trial(1, "running", 4.0), PROGRESS,
    trial(0, "stopped", 9.0, reason="worse than its rung"), trial(2, "diverged", reason="G/loss is NaN"), trial(1, "completed", 3.5),
    FINISHED,
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(agon: Agon, verb: str) -> None:
    found = agon("search", verb, "--help")
    assert found.code == 0
    assert "Examples" in found.out
    assert "agon search" in found.out


def test_the_help_of_search_shows_a_file_that_is_valid(agon: Agon, tmp_path: Path) -> None:
    text = agon("search", "--help").out
    assert all(verb in text for verb in VERBS)
    path = tmp_path / "help.yaml"
    path.write_text(HELP.split("```yaml")[1].split("```")[0])
    assert load_search(path).trials == 16


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(recipes()))
def test_init_prints_a_search_over_the_recipe_that_is_valid(agon: Agon, tmp_path: Path, name: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(agon("search", "init", name).out)
    search = read(str(path)).search
    spec = recipes()[name]()
    assert (search.base.arch, search.base.train) == (spec.arch, spec.train)
    assert set(search.space) == {f"optimizers.{player}.lr" for player in spec.optimizers}


def test_the_file_alone_is_short_for_submit_and_prints_the_id(agon: Agon, world: Any, file: str) -> None:
    for words in ((file,), ("submit", file), ("--set", "trials=5", file)):
        found = agon("search", *words)
        assert found.code == 0, found.err
        assert found.out.strip().startswith("s-")
        assert "agon search watch s-" in found.err
    listed = json.loads(agon("search", "list", "--json").out)
    assert [item["search"]["trials"] for item in listed] == [5, 3, 3]
    assert "0 of 5" in agon("search", "list", "--state", "starting").out + agon("search", "list").out


def test_overrides_reach_the_search_its_base_and_its_space(file: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    found = read(
        file,
        [
            "trials=2", "asha.grace=0.25", "budget.images=5000", "base.train.images=2000", "base.optimizers.D.lr=1e-4",
            "space.optimizers.G.lr=[1e-4, 1e-3]", "space.train.batch={choice: [32, 64]}", "metric=fid",
        ],
    )  # fmt: skip
    search = found.search
    assert (search.trials, search.asha.grace, search.budget.images) == (2, 0.25, 5000)
    assert (search.base.train.images, search.base.optimizers["D"].lr) == (2000, 1e-4)
    assert [(path, drawn.kind) for path, drawn in search.space.items()] == [
        ("optimizers.G.lr", "choice"),
        ("train.batch", "choice"),
    ]
    assert SearchSpec.model_validate(found.body()) == search
    data = read(file, ["base.data.url=dataset:faces"]).body()["base"]["data"]["url"]
    assert data == "dataset:faces"
    assert read(file, ["base.data.url=shards"]).body()["base"]["data"]["url"] == str(tmp_path / "shards")
    whole = tmp_path / "whole.yaml"
    whole.write_text(yaml.safe_dump(found.body()))
    assert read(str(whole)).search == search


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["trials=0"], "trials"),
        (["no_such=1"], "no_such"),
        (["base.train.imges=1"], "base.train.imges"),
        (["base.train.batch=7"], "base.train.batch"),
        (["space.no.such=[1, 2]"], "space.no.such"),
        (["base=nope"], "base.recipe"),
        (["trials"], "trials"),
    ],
)
def test_a_wrong_search_is_told_with_its_path_before_anything_is_sent(
    agon: Agon, file: str, words: list[str], path: str
) -> None:
    with pytest.raises(SpecError) as raised:
        read(file, words)
    assert path in [error.path for error in raised.value.errors]
    found = agon("search", file, *[word for item in words for word in ("--set", item)])
    assert (found.code, path in found.err, "Traceback" in found.err) == (2, True, False)


def test_what_is_neither_file_nor_verb_is_answered_with_what_may_be_meant(agon: Agon) -> None:
    assert "did you mean `agon search list`" in agon("search", "lits").err
    assert "agon search init dcgan-digits" in agon("search", "dcgan-digits").err


def test_validate_checks_here_and_asks_the_api(agon: Agon, world: Any, file: str) -> None:
    found = agon("search", "validate", file)
    assert found.code == 0
    assert world.url in found.err
    assert "lowest fid wins" in found.err
    resolved = json.loads(agon("search", "validate", file, "--offline", "--json").out)
    assert SearchSpec.model_validate(resolved).trials == 3


@pytest.mark.long
def test_watching_prints_what_happens_and_ends_with_the_best_trial(agon: Agon, world: Any, file: str) -> None:
    world.drive(*STORY)
    found = agon("search", file, "--watch")
    assert found.code == 0, found.err
    search = agon("search", "list", "--json")
    name = json.loads(search.out)[0]["id"]
    assert found.out.strip() == f"{name}/t-00001"
    for text in (
        "searching: 3 trials, at most 2 at once", "new best: t-00000, fid 9 ± 0.5, optimizers.G.lr 0.0001",
        "new best: t-00001, fid 4 ± 0.5", "t-00000 stopped, fid 9 ± 0.5: worse than its rung", "t-00002 diverged, fid –: G/loss is NaN",
        "t-00001 completed, fid 3.5 ± 0.5", "succeeded", f"agon submit --from-trial {name}/t-00001",
    ):  # fmt: skip
        assert text in found.err, text
    assert agon("search", "watch", "rates").out.strip() == f"{name}/t-00001"
    table = agon("search", "trials", "rates").out.splitlines()
    assert [line.split()[0] for line in table] == ["trial", "t-00001", "t-00000", "t-00002"]
    assert table[1].split() == ["t-00001", "completed", "3.5", "±", "0.5", "640", "0.0002"]
    assert [
        line.split()[0] for line in agon("search", "trials", "rates", "--state", "stopped").out.splitlines()[1:]
    ] == ["t-00000"]
    shown = agon("search", "show", "rates").out
    for text in ("3.5 ± 0.5 (t-00001)", "1 completed", "random, 3 trials", "optimizers.G.lr 0.0002"):
        assert text in shown, text
    assert "G/loss is NaN" in agon("search", "show", "rates/2").out
    assert json.loads(agon("search", "show", f"{name}/t-00001", "--json").out)["spec"]["optimizers"]["G"]["lr"] == 2e-4
    extended = agon("search", "extend", "rates", "--trials", "6")
    assert (extended.code, "goes on" in extended.err) == (0, True)
    assert agon("search", "extend", "rates").code == 2


def test_a_search_that_failed_ends_the_watch_with_1(agon: Agon, world: Any, file: str) -> None:
    world.drive(STARTED, {"kind": "failed", "data": {"kind": "bad-data", "reason": "shard 3 is altered"}})
    found = agon("search", file, "--watch")
    assert found.code == 1
    assert "shard 3 is altered" in found.err


def test_pause_resume_stop_cancel_and_what_is_refused(agon: Agon, world: Any, file: str) -> None:
    world.ray.unreachable = True  # it waits in the queue
    search = agon("search", file).out.strip()
    assert "pause" in agon("search", "pause", search).err
    watched = agon("search", "watch", search)
    assert (watched.code, f"agon search resume {search}" in watched.err) == (1, True)
    assert "goes on" in agon("search", "resume", "rates").err
    assert agon("search", "resume", "rates").code == 0, "asked twice, it goes on once"
    changed = agon("search", "edit", "rates", "--set", "labels.team=vision", "--set", "base.resources.workers=2")
    assert (changed.code, f"search {search} is edited" in changed.err) == (0, True), changed.err
    assert "labels" in agon("search", "show", search).out
    refused = agon("search", "edit", search, "--set", "trials=3", "--set", "space.train.seed=[1]")
    assert (refused.code, "space.train.seed: can't change" in " ".join(refused.err.split())) == (2, True), refused.err
    for words in (
        ("stop", search, "3"),
        ("show", f"{search}/3"),
        ("report", search),
        ("watch", "nope"),
        ("cancel", "nope"),
    ):
        found = agon("search", *words)
        assert (found.code, "Traceback" in found.err) == (4, False), words
    assert agon("search", "cancel", search).code == 0
    assert agon("search", "logs", search).out == ""


def test_the_report_goes_where_it_is_asked_for(
    agon: Agon, world: Any, file: str, tmp_path: Path, monkeypatch: Any
) -> None:
    search = agon("search", file).out.strip()
    folder = world.settings.jobs_root / search
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text("<!doctype html>é", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert agon("search", "report", search).out.strip() == "rates.html"
    out = tmp_path / "deeper" / "page.html"
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert agon("search", "report", "rates", "--out", str(out), "--open").code == 0
    assert out.read_text(encoding="utf-8") == "<!doctype html>é"
    assert opened == [out.as_uri()]
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


@pytest.mark.long
def test_a_trial_is_trained_for_longer_from_the_command_line(agon: Agon, world: Any, file: str) -> None:
    driver = world.drive(*STORY)
    search = agon("search", file, "--watch").out.strip().partition("/")[0]
    driver.join(20)
    refused = agon("submit", "--from-trial", "rates/1")
    assert refused.code == 4
    assert "no complete checkpoint" in refused.err
    job = agon("submit", "--from-trial", "rates/1", "--scratch", "--set", "train.images=2000").out.strip()
    shown = json.loads(agon("show", job, "--json").out)
    assert (shown["trial"], shown["spec"]["train"]["images"]) == (f"{search}/t-00001", 2000)
    assert shown["spec"]["optimizers"]["G"]["lr"] == 2e-4
    assert f"{search}/t-00001" in agon("show", job).out
    for words in (
        ("--from-trial", "rates/1", "dcgan-digits"),
        (),
        ("dcgan-digits", "--scratch"),
        ("--from-trial", "rates"),
    ):
        assert agon("submit", *words).code == 2, words


def test_the_client_takes_a_file_a_mapping_or_a_search(world: Any, file: str) -> None:
    with Client(world.url, world.token) as client:
        mapping = yaml.safe_load(FILE.replace("1e-5, 1e-2", "0.00001, 0.01"))
        digests = {client.search(given).spec_digest for given in (file, Path(file), mapping, load_search(file))}
        assert len(digests) == 1
        assert len(list(client.every_search(limit=2))) == 4


def test_on_a_terminal_the_table_is_redrawn_and_its_last_state_stays(file: str) -> None:
    search = read(file).search
    view = SearchView("rates", "s-1", search.metric, search.minimises, search.trials)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=30)
    show = watching._Live(view, console, watching._style)
    events = [{"kind": "state", "data": {"state": "running"}}, *STORY]
    with show:
        for item in events:
            show.on_event(Event(id="1", time=datetime.now(UTC), **{"images": 0, **item}))
        drawn = Console(file=io.StringIO(), width=100, height=30)
        drawn.print(show.render())
        text = drawn.file.getvalue()  # type: ignore[attr-defined]
    for part in ("rates", "3 of 3 trials ended", "best fid 3.5 ± 0.5 (t-00001)", "100%"):
        assert part in text, part
    rows = [line.split()[0] for line in text.splitlines() if line.startswith("t-")]
    assert rows == ["t-00001", "t-00000", "t-00002"]
    assert "t-00001" in screen.getvalue().splitlines()[-3]
