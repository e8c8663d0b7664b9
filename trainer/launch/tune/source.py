"""What Ray Tune asks for trials: those that a search left unfinished, then whatever is drawn next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.experiment import Experiment, Trial
from ray.tune.search.search_algorithm import SearchAlgorithm

from trainer.launch.ray_internals import _create_trial_from_spec, _make_parser
from trainer.launch.tune.draws import SCORE, Drawer, NoValidDrawError
from trainer.search import SearchSpec, TrialRecord, TrialState
from trainer.search.space import Values
from trainer.search.trial import trial_id


class Draws(SearchAlgorithm):  # type: ignore[misc]
    """Tune's source of trials: first those that a killed or paused search left unfinished, then new ones."""

    def __init__(
        self,
        search: SearchSpec,
        known: Sequence[TrialRecord],
        config: Callable[[Values], dict[str, Any]],
        added: Callable[[int, Values], None],
        held: Callable[[], bool] = lambda: False,
    ) -> None:
        """config: a trial's values as Tune's config. added: told of each new trial before it starts. held: whether none
        starts while any trains; not asked for a population, whose members need one another."""
        self._search, self._config, self._added, self._held = search, config, added, held
        self._drawer = Drawer(search, known)
        self._unfinished = [record for record in known if not record.state.ended]
        self._next = max((record.number + 1 for record in known), default=0)
        self._live: set[str] = set()
        self._finished = False
        self._experiment: Experiment | None = None
        self._parser = _make_parser()
        self.problem: str | None = None

    @property
    def metric(self) -> str:
        """What Tune optimises."""
        return SCORE

    @property
    def total_samples(self) -> int:
        """Trials of the whole search."""
        return self._search.trials

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Known from the search."""
        return True

    def add_configurations(self, experiments: Any) -> None:
        """Take the experiment that trials belong to."""
        (self._experiment,) = experiments

    def next_trial(self) -> Trial | None:
        """The next trial; None if it isn't time yet, or there is none."""
        # A population trains side by side or by turns, so all of its members have to be there.
        population = self._search.scheduler == "pbt"
        crowd = self._search.trials if population else 1 if self._held() else self._search.max_concurrent
        if self._finished or len(self._live) >= crowd:
            return None
        if self._unfinished:
            record = self._unfinished.pop(0)
            values = dict(record.current)
            return self._trial(record.number, values)
        if self._next >= self._search.trials:
            self._finished = True
            return None
        try:
            drawn = self._drawer.draw(self._next)
        except NoValidDrawError as error:
            self.problem, drawn = str(error), None
        if drawn is None:
            self._finished = True
            return None
        number, self._next = self._next, self._next + 1
        self._added(number, drawn)
        return self._trial(number, drawn)

    def _trial(self, number: int, values: Values) -> Trial:
        assert self._experiment is not None  # noqa: S101 — Tune gives it before it asks
        spec = {**self._experiment.spec, "config": self._config(values)}
        self._live.add(trial_id(number))
        return _create_trial_from_spec(
            spec, self._parser, evaluated_params={}, experiment_tag=trial_id(number), trial_id=trial_id(number)
        )

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Its place is free; the searcher learns of it. result: as Tune flattens it, `a/b` for what is nested."""
        self._live.discard(trial_id)
        failed = error or result is None or result.get("state") == TrialState.FAILED
        if result is not None and result.get("state") == TrialState.STOPPED:
            failed = failed or not result["progress/results"]  # before its first score: nothing is known of it
        self._drawer.complete(trial_id, None if failed or result is None else float(result[SCORE]))

    def is_finished(self) -> bool:
        """Whether no new trial will come; in a held search, for now: else Tune keeps the actor, and the place, of one that ended."""
        if not self._unfinished and self._next >= self._search.trials:
            self._finished = True
        return self._finished or (self._search.scheduler != "pbt" and bool(self._live) and self._held())
