"""The search's driver, without a cluster: who is stopped while waiting, and what no cluster can hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial as TuneTrial

from trainer.launch.tune.book import Book, Watcher
from trainer.launch.tune.run import refuse_too_large
from trainer.search import TrialState, parse_search
from trainer.spec import SpecError

RAW: dict[str, Any] = {"base": "gan-digits", "space": {"optimizers.G.lr": {"loguniform": [1e-4, 1e-2]}}}


@pytest.mark.parametrize("waits", [TuneTrial.PENDING, TuneTrial.PAUSED])
def test_a_trial_asked_to_stop_while_it_waits_has_ended_and_does_not_run_again(tmp_path: Path, waits: str) -> None:
    asked: set[str] = set()
    book = Book(parse_search(RAW), tmp_path, lambda record: None)
    watcher = Watcher(book, lambda trial: "stopped as asked", asked)
    trials: Any = [
        SimpleNamespace(trial_id=f"t-0000{n}", status=status) for n, status in enumerate((waits, TuneTrial.RUNNING))
    ]
    for number in range(2):
        book.add(number, {"optimizers.G.lr": 1e-3})
    watcher.on_step_end(1, trials)
    asked |= {"t-00000", "t-00001"}
    watcher.on_step_end(2, trials)
    assert [record.state for record in book.records] == [TrialState.STOPPED, TrialState.RUNNING]
    assert book.records[0].reason == "stopped as asked"
    trials[0].status = TuneTrial.RUNNING  # Tune gives it its turn, and notices then
    watcher.on_trial_start(3, trials, trials[0])
    watcher.on_step_end(3, trials)
    assert book.records[0].state is TrialState.STOPPED


@pytest.mark.parametrize(
    ("changes", "nodes", "room"),
    [
        ({"resources.workers": 8}, [{"CPU": 4.0}], 4),
        ({"resources.workers": 2, "resources.cpus_per_worker": 3}, [{"CPU": 4.0}, {"CPU": 2.0}], 1),
        ({"resources.workers": 1, "resources.gpus_per_worker": 1}, [{"CPU": 64.0}], 0),
    ],
)
def test_a_trial_larger_than_the_cluster_is_refused(changes: dict[str, Any], nodes: Any, room: int) -> None:
    search = parse_search(RAW | {"base": {"recipe": "gan-digits", "set": changes}})
    with pytest.raises(SpecError) as refused:
        refuse_too_large(search, nodes)
    (error,) = refused.value.errors
    assert error.path == "base.resources.workers"
    assert f"room for {room}" in error.message
    assert error.fix


def test_a_trial_that_fits_several_nodes_together_is_accepted() -> None:
    search = parse_search(RAW | {"base": {"recipe": "gan-digits", "set": {"resources.workers": 4}}})
    refuse_too_large(search, [{"CPU": 2.0}, {"CPU": 2.0, "memory": 1e9}])
