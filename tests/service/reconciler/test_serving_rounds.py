"""Places for what answers questions to models, as reconcilers give them and take them back, with Ray Serve as the rows want it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from service.db.times import time_in
from service.gateway.fake_serve import FakeServe
from service.gateway.ray_jobs import Node
from service.reconciler.loop import Reconciler
from service.reconciler.serving import LOOKING
from service.runs import served
from service.runs.served import LEAVING, OFF, READY, STARTING, Place
from trainer.serve.wire import MODELS, PLANS, ServeArguments

pytestmark = pytest.mark.databases


class Rounds:
    """A reconciler with a fake Serve."""

    def __init__(self, world: Any, fake: FakeServe | None = None, **settings: Any) -> None:
        self.world, self.serve = world, fake or FakeServe()
        self.settings = world.settings.model_copy(update=settings)
        self.one = self.reconciler("r1")

    def reconciler(self, owner: str) -> Reconciler:
        world = self.world
        return Reconciler(
            world.db, world.ray, self.settings, owner, clock=world.clock, serve=self.serve, beside=lambda work: work()
        )

    def ask(self, name: str = MODELS) -> Place:
        """A question comes."""
        with self.world.db.begin() as session:
            return served.touch(session, name, time_in(session) + self.world.clock.ahead)

    def round(self, seconds: float = 1.0, times: int = 1) -> Place:
        for _ in range(times):
            self.world.clock.forward(seconds)
            self.one.round()
        return self.place()

    def place(self, name: str = MODELS) -> Place:
        with self.world.db.read() as session:
            return next((place for place in served.places(session) if place.name == name), Place(name))


@pytest.fixture
def rounds(world: Any) -> Rounds:
    return Rounds(world)


def test_a_question_gets_a_place_and_serve_is_told_of_it(rounds: Rounds) -> None:
    rounds.ask()
    place = rounds.round()
    assert (place.phase, place.need.total_cpus, place.replicas) == (STARTING, 1, 1)
    assert rounds.serve.calls == ["state", "declare", "state"]
    place = rounds.round()
    assert (place.phase, place.running, place.reason) == (READY, 1, "")
    arguments = ServeArguments.model_validate(rounds.serve.applications[MODELS].args)
    assert arguments.idle_seconds == rounds.settings.serve_idle_seconds
    assert place.token not in str(rounds.serve.applications[MODELS].args), "whoever may ask Ray can read these"
    assert rounds.world.client.get("/v1/cluster").json()["serving"] == {"cpus": 1.0, "gpus": 0.0}


def test_nobody_asks_serve_anything_while_nobody_asks_models_anything(rounds: Rounds) -> None:
    rounds.world.submit()
    rounds.round(times=5)
    assert rounds.serve.calls == []


def test_what_is_asked_once_is_looked_at_seldom(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round(times=2)
    before = len(rounds.serve.calls)
    rounds.round(0.5, times=20)
    assert len(rounds.serve.calls) - before <= 3


def test_a_training_has_its_place_and_the_question_waits_with_the_reason(rounds: Rounds) -> None:
    job = rounds.world.running(resources={"workers": 4, "cpus_per_worker": 1})
    rounds.world.ray.cluster = [Node("node-1", 4, 0)]
    rounds.ask()
    place = rounds.round()
    assert (place.phase, place.reason) == (OFF, f"needs 1 CPU; 0 of 4 CPUs free; {job} runs there")
    assert rounds.serve.calls == []


def test_who_waits_first_in_line_keeps_what_is_free(rounds: Rounds) -> None:
    rounds.world.running(resources={"workers": 2, "cpus_per_worker": 1})
    rounds.world.ray.cluster = [Node("node-1", 4, 2)]
    rounds.world.submit(resources={"workers": 4, "cpus_per_worker": 1})
    rounds.ask()
    place = rounds.round()
    assert place.phase == OFF
    assert "which runs that wait will take first" in place.reason


def test_a_run_that_comes_later_waits_for_what_is_kept_and_says_so(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round()
    job = rounds.world.submit(resources={"workers": 4, "cpus_per_worker": 1})
    rounds.round()
    shown = rounds.world.job(job)
    assert shown["reason"] == "waits for 4 CPUs; 3 of 4 CPUs free, 1 CPU kept for questions to models"
    assert shown["waiting"]["for"] == "cpu"
    rounds.world.client.post(f"/v1/jobs/{job}/cancel")
    small = rounds.world.submit(resources={"workers": 1, "cpus_per_worker": 3})
    rounds.round()
    assert rounds.world.job(small)["state"] == "starting"


def test_as_many_replicas_as_fit_beside_runs(world: Any) -> None:
    rounds = Rounds(world, serve_replicas=8, serve_cpus=1)
    world.running(resources={"workers": 1, "cpus_per_worker": 1})
    rounds.ask()
    assert rounds.round().replicas == 3
    rounds.ask(PLANS)
    rounds.round()
    assert rounds.place(PLANS).reason.startswith("needs 1 CPU; 0 of 4 CPUs free")


def test_idle_it_gives_its_place_back_once_serve_says_that_its_replicas_are_gone(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round(times=2)
    rounds.serve.move(MODELS, "RUNNING", running=0)
    rounds.serve.sluggish = True
    assert rounds.round(301).phase == READY, "Serve's replicas are looked at first"
    assert rounds.round().phase == LEAVING
    for _ in range(3):
        assert rounds.round(6.0).phase == LEAVING
        assert rounds.world.client.get("/v1/cluster").json()["serving"]["cpus"] == 1
    assert rounds.serve.applications[MODELS].status == "DELETING"
    rounds.serve.settle()
    place = rounds.round(6.0, times=3)
    assert (place.phase, place.need.total_cpus, place.token) == (OFF, 0, "")
    assert rounds.serve.there, "the next question finds Serve running"
    calls = len(rounds.serve.calls)
    rounds.round(60, times=5)
    assert len(rounds.serve.calls) == calls
    rounds.round(3600, times=2)
    assert not rounds.serve.there
    assert rounds.place().asked_at is None
    calls = len(rounds.serve.calls)
    rounds.round(3600, times=5)
    assert len(rounds.serve.calls) == calls, "once is enough"


def test_a_question_just_before_the_end_keeps_the_place(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round(times=2)
    rounds.serve.move(MODELS, "RUNNING", running=0)
    rounds.round(200)
    rounds.ask()
    rounds.round(200, times=1)
    assert rounds.round().phase == READY


def test_the_next_place_has_another_token(rounds: Rounds) -> None:
    tokens = set()
    for _ in range(2):
        rounds.ask()
        tokens.add(rounds.round().token)
        rounds.round()
        served.stop(rounds.world.db)
        rounds.round(times=4)
        assert rounds.place().phase == OFF
    assert len(tokens - {""}) == 2


def test_a_head_that_was_restarted_is_told_again(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round(times=2)
    rounds.serve.forget()
    rounds.round(6.0, times=2)
    assert rounds.serve.applications[MODELS].status == "RUNNING"
    assert rounds.place().phase == READY


def test_while_ray_is_away_the_place_is_kept_and_the_reason_told(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round(times=2)
    rounds.serve.unreachable = True
    place = rounds.round(6.0, times=2)
    assert (place.phase, place.replicas) == (STARTING, 1)
    assert "can't be reached" in place.reason
    rounds.serve.unreachable = False
    place = rounds.round(6.0, times=2)
    assert (place.phase, place.reason) == (READY, "")


@pytest.mark.parametrize("how", ["fail", "refuse"])
def test_what_serve_cant_run_gives_its_place_back_and_is_tried_again_later(rounds: Rounds, how: str) -> None:
    setattr(rounds.serve, how, "Traceback\nImportError: no module named trainer")
    rounds.ask()
    place = rounds.round(times=2)
    assert (place.phase, place.failed) == (LEAVING, True)
    rounds.serve.refuse = ""
    rounds.ask()
    place = rounds.round(3.0, times=3)
    assert (place.phase, place.failed, place.replicas) == (OFF, True, 0)
    assert "no module named trainer" in place.reason
    rounds.serve.fail = ""
    rounds.ask()
    assert rounds.round(20).phase == OFF, "not at once"
    rounds.ask()
    place = rounds.round(15)
    assert (place.phase, place.failed, place.reason) == (STARTING, False, "")


def test_stop_ends_serve_at_once_and_the_next_question_starts_it_anew(rounds: Rounds) -> None:
    rounds.ask()
    rounds.ask(PLANS)
    rounds.round(times=2)
    served.stop(rounds.world.db)
    rounds.round(6.0, times=3)
    assert not rounds.serve.there
    for name in (MODELS, PLANS):
        place = rounds.place(name)
        assert (place.phase, place.stop, place.asked_at, place.reason) == (OFF, False, None, "")
    rounds.ask()
    assert rounds.round(times=2).phase == READY


def test_of_two_applications_one_goes_and_the_other_stays(rounds: Rounds) -> None:
    rounds.ask()
    rounds.ask(PLANS)
    rounds.round(times=2)
    token = rounds.place(PLANS).token
    rounds.serve.move(MODELS, "RUNNING", running=0)
    rounds.round(200)
    rounds.ask(PLANS)
    rounds.round(150)
    rounds.round(1, times=8)
    assert rounds.place().phase == OFF
    assert set(rounds.serve.applications) == {PLANS}
    assert (rounds.place(PLANS).phase, rounds.place(PLANS).token) == (READY, token)


def test_two_reconcilers_give_one_place_and_one_of_them_looks(rounds: Rounds) -> None:
    rounds.serve.sluggish = True
    other = rounds.reconciler("r2")
    rounds.ask()
    rounds.world.clock.forward(1)
    for reconciler in (rounds.one, other, rounds.one, other):
        reconciler.round()
    assert rounds.serve.calls.count("declare") == 1
    assert rounds.place().revision <= 2


def test_who_died_while_looking_is_not_waited_for_for_ever(rounds: Rounds) -> None:
    dead = Reconciler(
        rounds.world.db, rounds.world.ray, rounds.settings, "dead", clock=rounds.world.clock, serve=rounds.serve,
        beside=lambda work: None,
    )  # fmt: skip
    rounds.ask()
    rounds.world.clock.forward(1)
    dead.round()
    assert rounds.round().phase == STARTING
    assert rounds.serve.calls == []
    rounds.round(LOOKING / timedelta(seconds=1))
    assert "declare" in rounds.serve.calls


def test_a_run_that_starts_meanwhile_is_faster(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another reconciler starts a job between the decision and its writing: what was decided is void."""
    from service.reconciler import served_rules

    decide, meanwhile = served_rules.grant, [True]

    def decided(*args: Any) -> Any:
        found = decide(*args)
        if meanwhile.pop() if meanwhile else False:
            rounds.world.submit(resources={"workers": 4, "cpus_per_worker": 1})
            rounds.world.reconciler("other").round()
        return found

    monkeypatch.setattr(served_rules, "grant", decided)
    rounds.ask()
    assert rounds.round().phase == OFF
    assert "0 of 4 CPUs free" in rounds.round().reason


def test_switched_off_it_gives_all_back(world: Any) -> None:
    rounds = Rounds(world)
    rounds.ask()
    rounds.round(times=2)
    off = Rounds(world, rounds.serve, serve=False)
    off.round(6.0, times=4)
    assert off.place().phase == OFF
    assert not rounds.serve.there
    off.ask()
    assert off.round(times=2).phase == OFF


def test_a_proxy_on_another_port_is_started_anew(rounds: Rounds) -> None:
    rounds.serve.there, rounds.serve.port = True, 9999
    rounds.ask()
    rounds.round()
    assert rounds.serve.calls[:2] == ["state", "shutdown"]
    assert "declare" in rounds.serve.calls


def test_other_arguments_are_declared_anew(world: Any) -> None:
    rounds = Rounds(world)
    rounds.ask()
    rounds.round(times=2)
    other = Rounds(world, rounds.serve, serve_memory=5 << 30)
    other.round(6.0)
    assert rounds.serve.applications[MODELS].args["memory"] == 5 << 30


def test_an_answer_and_a_plan_may_each_take_as_long_as_its_setting_says(world: Any) -> None:
    rounds = Rounds(world, serve_seconds=7.0, plan_seconds=5000.0)
    for name in (MODELS, PLANS):
        rounds.ask(name)
    rounds.round(6.0, times=2)
    found = {name: application.args["seconds"] for name, application in rounds.serve.applications.items()}
    assert found == {MODELS: 7.0, PLANS: 5000.0}


def test_an_application_of_somebody_elses_that_deletes_is_let_alone(rounds: Rounds) -> None:
    rounds.ask()
    rounds.round(times=2)
    rounds.serve.applications["old"] = replace(rounds.serve.applications[MODELS], status="DELETING")
    before = rounds.serve.calls.count("declare")
    rounds.round(6.0, times=2)
    assert rounds.serve.calls.count("declare") == before


def test_what_was_idle_soon_stays_away(world: Any) -> None:
    rounds = Rounds(world, serve_idle_seconds=8)
    rounds.ask()
    rounds.round(times=2)
    rounds.serve.move(MODELS, "RUNNING", running=0)
    rounds.round(2.0, times=12)
    declared = rounds.serve.calls.count("declare")
    assert rounds.place().phase == OFF
    rounds.round(2.0, times=10)
    assert (rounds.place().phase, rounds.serve.calls.count("declare")) == (OFF, declared)
