"""When what answers questions to models has a place: never one that a run takes or waits for, and never for longer than it is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.ray_jobs import Node
from service.gateway.ray_serve import AppState, ServeState
from service.reconciler import served_rules
from service.reconciler.served_rules import Room, asks, gone, grant, idle, one_of, settled
from service.runs.preemption import Running, plan
from service.runs.queue import Line, admit
from service.runs.room import Need, minus_unseen
from service.runs.served import LEAVING, OFF, READY, STARTING, Place
from service.settings import Settings

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SETTINGS = Settings(serve_idle_seconds=300, serve_gone_seconds=3600, serve_seconds=60, serve_start_seconds=30)
amounts = st.integers(0, 8).map(float)
needs = st.builds(Need, st.integers(1, 4), st.integers(1, 4).map(float), st.integers(0, 2).map(float))


@st.composite
def clusters(draw: st.DrawFn) -> list[Node]:
    sizes = draw(st.lists(st.tuples(amounts, amounts, amounts, amounts), min_size=1, max_size=4))
    return [
        Node(f"n{index}", cpus, min(free, cpus), gpus, min(gpus_free, gpus))
        for index, (cpus, free, gpus, gpus_free) in enumerate(sizes)
    ]


def node(cpus: float, free: float | None = None, gpus: float = 0, gpus_free: float | None = None) -> Node:
    return Node("n", cpus, cpus if free is None else free, gpus, gpus if gpus_free is None else gpus_free)


def room(nodes: list[Node], *, active: Any = (), served: Any = (), line: Any = (), names: Any = ()) -> Room:
    return Room(nodes, active, served, line, names)


@given(
    clusters(),
    st.lists(needs, max_size=4),
    st.lists(needs, max_size=2),
    st.lists(needs, max_size=5),
    needs,
    st.integers(1, 5),
)
def test_it_never_takes_more_than_is_free_nor_what_those_that_wait_would_take(
    nodes: list[Node], active: list[Need], kept: list[Need], line: list[Need], one: Need, most: int
) -> None:
    one = one._replace(workers=1)
    found = grant(room(nodes, active=active, served=kept, line=line), one, most)
    assert 0 <= found.replicas <= most
    assert bool(found.replicas) != bool(found.reason)
    free = minus_unseen(nodes, [*active, *kept])
    assert found.replicas * one.cpus <= sum(cpus for cpus, _ in free) + 1e-6
    assert found.replicas * one.gpus <= sum(gpus for _, gpus in free) + 1e-6
    if found.replicas:
        before = admit(nodes, [*active, *kept], line)
        taken = [*kept, one._replace(workers=found.replicas)]
        after = Line(nodes, active, served=taken)
        assert [after.next(need).starts for need in line] == [verdict.starts for verdict in before]


@given(clusters(), st.lists(needs, max_size=4), needs)
def test_all_that_is_free_can_be_had_when_nobody_waits(nodes: list[Node], active: list[Need], one: Need) -> None:
    one = one._replace(workers=1)
    found = grant(room(nodes, active=active), one, 100).replicas
    told = [verdict.starts for verdict in admit(nodes, active, [one] * (found + 1))]
    assert told == [True] * found + [False]


def test_a_place_is_kept_for_the_first_in_line_that_is_too_big_for_what_is_free() -> None:
    found = grant(room([node(4, 2)], active=[Need(2, 1)], line=[Need(4, 1)]), Need(1, 1), 1)
    assert (found.replicas, found.reason) == (
        0,
        "needs 1 CPU, which runs that wait will take first; it gets a place when they have theirs",
    )
    assert grant(room([node(4, 4, 1, 0)], line=[Need(1, 1, 1)]), Need(1, 1), 1).replicas == 1, (
        "CPUs that wait for a GPU"
    )


def test_why_there_is_no_room_names_what_takes_it() -> None:
    full = room([node(2, 0)], active=[Need(2, 1)], names=["j-1", "j-2", "j-3"])
    assert grant(full, Need(1, 1), 1).reason == "needs 1 CPU; 0 of 2 CPUs free; j-1 and 2 more run there"
    assert grant(full._replace(names=["j-1"]), Need(1, 1), 1).reason == "needs 1 CPU; 0 of 2 CPUs free; j-1 runs there"
    gpus = grant(room([node(8, 8, 2, 0)]), Need(1, 1, 1), 1).reason
    assert gpus == "needs 1 CPU and 1 GPU; 0 of 2 GPUs free"
    never = grant(room([node(2)]), Need(1, 4), 1).reason
    assert never.startswith("needs 4 CPUs, more than the whole cluster has (2 CPUs); ")
    assert "AGON_SERVE_CPUS" in never
    assert "no nodes" in grant(room([]), Need(1, 1), 1).reason


def test_replicas_of_models_take_what_the_settings_say_and_plans_need_no_gpu() -> None:
    settings = Settings(serve_cpus=2, serve_gpus=0.5, serve_replicas=3)
    assert one_of("models", settings) == (Need(1, 2, 0.5), 3)
    assert one_of("plans", settings) == (Need(1, 2, 0), 1)


def test_what_is_kept_counts_for_runs_and_they_are_told() -> None:
    line = Line([node(2)], [], served=[Need(1, 1)])
    assert line.next(Need(1, 2)).reason == "waits for 2 CPUs; 1 of 2 CPUs free, 1 CPU kept for questions to models"
    line = Line([node(8, 8, 1, 1)], [], served=[Need(1, 1, 1)])
    told = line.next(Need(1, 1, 1)).reason
    assert told == "waits for 1 CPU and 1 GPU; 0 of 1 GPUs free, 1 GPU kept for questions to models"


def test_nobody_is_paused_in_vain_for_what_is_kept() -> None:
    """Of two CPUs one is kept: who waits for two can't have them, whoever is paused."""

    class Waiter:
        number, place, arrived, priority, need, revision = 9, 0, 2, 60, Need(1, 2), 0

    runs = [Running(1, 1, 10, Need(1, 1), preemptible=True, began=1)]
    assert plan([node(2, 1)], runs, [], [Waiter()], 10)
    assert not plan([node(2, 1)], runs, [], [Waiter()], 10, served=[Need(1, 1)])


# -- time


def place(**values: Any) -> Place:
    return Place("models", **{"asked_at": NOW, **values})


def test_it_wants_a_place_while_it_is_asked_and_has_none() -> None:
    assert asks(place(), NOW, SETTINGS)
    assert not asks(place(), NOW + timedelta(seconds=61), SETTINGS)
    assert not asks(place(asked_at=None), NOW, SETTINGS)
    assert not asks(place(stop=True), NOW, SETTINGS)
    for phase in (STARTING, READY, LEAVING):
        assert not asks(place(phase=phase), NOW, SETTINGS)
    failed = place(again_at=NOW + served_rules.AGAIN)
    assert not asks(failed, NOW, SETTINGS)
    assert asks(failed, NOW + served_rules.AGAIN, SETTINGS)


@given(st.floats(1, 400), st.floats(0, 1000))
def test_what_was_idle_does_not_want_its_place_again(idle_seconds: float, quiet: float) -> None:
    settings = SETTINGS.model_copy(update={"serve_idle_seconds": idle_seconds})
    now = NOW + timedelta(seconds=quiet)
    assert not (idle(place(phase=READY), now, settings) and asks(place(), now, settings))


def test_it_gives_its_place_back_when_it_is_idle_and_its_replicas_are_gone() -> None:
    after = NOW + timedelta(seconds=301)
    assert not idle(place(phase=READY), NOW + timedelta(seconds=299), SETTINGS)
    assert idle(place(phase=READY), after, SETTINGS)
    assert not idle(place(phase=READY, running=1), after, SETTINGS), "its last answer may be under way"
    assert idle(place(phase=READY, running=1), after + timedelta(seconds=151), SETTINGS), "whatever Serve says"
    assert idle(place(phase=READY, running=1, stop=True), NOW, SETTINGS)
    assert idle(place(phase=STARTING), NOW, SETTINGS.model_copy(update={"serve": False}))
    assert not idle(place(phase=LEAVING, stop=True), after, SETTINGS)
    assert not idle(place(phase=OFF), after, SETTINGS)


def test_serve_itself_ends_when_nobody_has_asked_for_long_or_someone_wants_it() -> None:
    later = NOW + timedelta(seconds=3601)
    assert gone([place()], later, SETTINGS)
    assert not gone([place()], NOW + timedelta(seconds=3599), SETTINGS)
    assert not gone([place(), place(phase=LEAVING)], later, SETTINGS), "not before its place is free"
    assert not gone([place(asked_at=None)], later, SETTINGS), "it has"
    assert gone([place(phase=READY, stop=True)], NOW, SETTINGS)
    assert not gone([], later, SETTINGS)


@given(
    st.sampled_from([OFF, STARTING, READY, LEAVING]),
    st.none() | st.sampled_from(["DEPLOYING", "RUNNING", "DEPLOY_FAILED", "UNHEALTHY", "DELETING", "SOMETHING NEW"]),
    st.booleans(),
)
def test_a_place_is_free_only_when_serve_has_said_that_it_is_gone(phase: str, status: str | None, wanted: bool) -> None:
    apps = {} if status is None else {"models": AppState(status, running=1)}
    values = settled(place(phase=phase), ServeState(True, applications=apps), ["models"] if wanted else [], NOW)
    freed = values.get("phase") == OFF
    assert freed == (phase == LEAVING and status is None and not wanted)
    assert (values.get("phase") == READY) == (phase in (STARTING, READY) and wanted and status == "RUNNING")


@given(st.lists(st.sampled_from(["question", "second", "minute", "replicas end", "replicas start"]), max_size=40))
def test_whatever_happens_it_is_idle_in_the_end_and_never_within_its_time(steps: list[str]) -> None:
    now, here = NOW, place(phase=READY, running=1)
    for step in steps:
        now += {"second": timedelta(seconds=1), "minute": timedelta(minutes=1)}.get(step, timedelta())
        here = here._replace(asked_at=now) if step == "question" else here
        here = here._replace(running=int(step == "replicas start")) if step.startswith("replicas") else here
        assert here.asked_at is not None
        if now - here.asked_at <= timedelta(seconds=300):
            assert not idle(here, now, SETTINGS)
    assert idle(here, now + timedelta(seconds=451), SETTINGS)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Traceback\n  File x\n    ^^^^\nImportError: no module\n", "Ray Serve can't run it: ImportError: no module"),
        ("", "Ray Serve can't run it: DEPLOY_FAILED"),
    ],
)
def test_a_failure_is_told_in_its_last_words(message: str, words: str) -> None:
    assert served_rules.failure(AppState("DEPLOY_FAILED", message)) == words


def test_a_replica_may_have_a_node_that_is_to_be_started_for_it_unless_runs_wait_for_it() -> None:
    head, spare = Node("head", 0, 0, head=True), Node("another", 4, 4, state="spare", grows=True)
    assert grant(Room([head, spare], [], [], []), Need(1, 1), 2).replicas == 2
    assert grant(Room([head, spare], [Need(4, 1)], [], []), Need(1, 1), 2).replicas == 0
    late = Node("another", 4, 4, state="late", grows=True)
    assert grant(Room([head, late], [], [], []), Need(1, 1), 2).replicas == 0, "such nodes don't come at present"
