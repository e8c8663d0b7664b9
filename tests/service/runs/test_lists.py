"""Lists by label and by score, of jobs and searches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import select

from service.db.tables import JobLabel, JobScore
from service.runs.lists import Bound, Wanted
from trainer.wire import EventKind

SEARCH = {"base": {"recipe": "dcgan-digits"}, "space": {"train.seed": [1, 2, 3]}, "algorithm": "random", "trials": 3}


def listed(world: Any, path: str = "jobs", **params: Any) -> list[str]:
    """Ids of all pages, one item a page."""
    found: list[str] = []
    cursor = None
    while True:
        reply = world.client.get(f"/v1/{path}", params={"limit": 1, **params, **({"cursor": cursor} if cursor else {})})
        assert reply.status_code == 200, reply.text
        found += [item["id"] for item in reply.json()["items"]]
        if (cursor := reply.json()["next_cursor"]) is None:
            return found


def search(world: Any, **fields: Any) -> str:
    reply = world.client.post("/v1/searches", json={"search": {**SEARCH, **fields}})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


@pytest.mark.databases
def test_labels_filter_and_combine_with_all_else(world: Any) -> None:
    one = world.submit(name="alpha", labels={"team": "vision", "run": "a"})
    two = world.submit(name="beta", labels={"team": "vision", "run": "b"}, notes="the second")
    world.submit(name="alpha", labels={"team": "sound"})
    world.submit(name="alpha")
    three = world.submit(name="alpha", labels={"team": "vision"})
    world.client.post(f"/v1/jobs/{three}/pause")
    world.round()
    assert listed(world, label="team=vision") == [three, two, one]
    assert listed(world, label=["team=vision", "run=a"]) == listed(world, label=["run=a", "team=vision"]) == [one]
    assert listed(world, label=["team=vision", "team=sound"]) == listed(world, label="team=Vision") == []
    assert listed(world, label="team=vision", name="alpha") == [three, one]
    assert listed(world, label="team=vision", family="dcgan") == [three, two, one]
    assert listed(world, label="team=vision", state="paused") == [three]
    assert listed(world, label="team=vision", state="succeeded") == []
    shown = world.job(two)
    assert (shown["labels"], shown["notes"], shown["spec"]["notes"]) == (
        {"team": "vision", "run": "b"}, "the second", "the second",
    )  # fmt: skip


@pytest.mark.long
def test_jobs_and_searches_are_not_mixed(world: Any) -> None:
    job = world.submit(labels={"team": "vision"})
    mine = search(world, labels={"team": "vision"}, notes="of the search")
    base = {"recipe": "dcgan-digits", "set": {"labels.team": "base"}}
    other = search(world, base=base)
    assert listed(world, label="team=vision") == [job]
    assert listed(world, "searches", label="team=vision") == [mine]
    assert listed(world, "searches", label="team=base") == [], "those of the base are its trials'"
    shown = world.client.get(f"/v1/searches/{mine}").json()
    assert (shown["labels"], shown["notes"]) == ({"team": "vision"}, "of the search")
    assert world.client.get(f"/v1/searches/{other}").json()["labels"] == {}


@pytest.mark.databases
def test_scores_filter_by_the_newest_that_a_job_has_told(world: Any) -> None:
    first, second, third = world.running(labels={"a": "b"}), world.running(), world.running()
    world.tell(first, "scores", scores={"fid": 30.0, "kid": 0.1})
    world.tell(first, "scores", scores={"fid": 12.5})
    world.tell(second, "scores", scores={"fid": 20.0})
    world.tell(third, "scores", scores={"fid": "low", "kid": None, "x" * 65: 1, "": 2, "precision": True})
    assert listed(world, score="fid<20") == [first]
    assert listed(world, score="fid<=20") == listed(world, score=" fid <= 2e1") == [second, first]
    assert listed(world, score="fid>12.5") == [second]
    assert listed(world, score="fid>=12.5") == [second, first]
    assert listed(world, score=["fid<20", "kid<0.2"]) == [first]
    assert listed(world, score=["fid<20", "fid>15"]) == []
    assert listed(world, score="fid<20", label="a=b", state="running") == [first]
    assert listed(world, score="fid<99", label="a=c") == listed(world, score="precision>=0") == []
    with world.db.read() as session:
        assert len(session.scalars(select(JobScore)).all()) == 3


def test_a_searchs_score_is_its_best_trials(world: Any) -> None:
    mine = search(world)
    world.round()

    def trial(number: int, score: float, state: str = "running") -> None:
        result = {"step": 1, "images": 1, "value": score, "score": score, "spread": 0.0, "seconds": 1.0}
        told = {
            "id": f"t-{number:05d}",
            "number": number,
            "state": state,
            "values": {"train.seed": 1},
            "result": result,
        }
        world.tell(mine, EventKind.TRIAL.value, **told)

    trial(0, 40.0)
    trial(1, 15.0)
    trial(2, 25.0)
    assert listed(world, "searches", score="fid<20") == [mine]
    trial(1, 15.0, "diverged")
    assert listed(world, "searches", score="fid<20") == []
    assert listed(world, "searches", score="fid<=25") == [mine]
    for number in (0, 2):
        trial(number, 1.0, "diverged")
    assert listed(world, "searches", score="fid<1000") == []


WRONG = [
    ("label", "team"), ("label", "=x"), ("label", "team="), ("label", "a.b=c"), ("label", "x=\0"), ("label", ["a=b"] * 9),
    ("score", "fid"), ("score", "fid=3"), ("score", "<3"), ("score", "fid<nan"), ("score", "fid<1e9999"), ("score", "fid<1;--"),
]  # fmt: skip


def test_a_filter_that_is_none_is_named_with_what_to_write(world: Any) -> None:
    for name, value in WRONG:
        for path in ("jobs", "searches"):
            reply = world.client.get(f"/v1/{path}", params={name: value})
            assert reply.status_code == 422, (name, value)
            assert reply.json()["errors"][0]["path"] == name


@examples(20)
@given(
    st.sampled_from(["fid", "kid", "inception/x"]),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_bound_is_read_as_it_is_written(name: str, sign: str, value: float) -> None:
    assert Wanted.read([], [f"{name}{sign}{value!r}"]).scores == (Bound(name, sign, value),)


@pytest.mark.long
@pytest.mark.databases
def test_a_deleted_jobs_labels_and_scores_go_with_it(world: Any) -> None:
    from sqlalchemy import text

    job = world.running(labels={"a": "b"})
    world.tell(job, "scores", scores={"fid": 3.0})
    with world.db.begin() as session:
        session.execute(text("DELETE FROM jobs"))
    with world.db.read() as session:
        assert [*session.scalars(select(JobLabel)), *session.scalars(select(JobScore))] == []


def token(world: Any, name: str, **fields: Any) -> dict[str, str]:
    """Headers of a new token."""
    made = world.client.post("/v1/tokens", json={"name": name, **fields})
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['token']}"}


def test_what_is_submitted_with_any_token_of_a_person_is_theirs(world: Any) -> None:
    body = {"recipe": "dcgan-digits"}
    laptop, robot = token(world, "ada"), token(world, "ci", owner="ada")
    mine = [world.client.post("/v1/jobs", json=body, headers=headers).json()["id"] for headers in (laptop, robot)]
    theirs = world.client.post("/v1/jobs", json=body, headers=token(world, "bob")).json()["id"]
    own = world.submit(name="alpha")
    sought = world.client.post("/v1/searches", json={"search": SEARCH}, headers=robot).json()
    assert listed(world, owner="ada") == mine[::-1]
    assert listed(world, owner="bob", state="submitted", family="dcgan") == [theirs]
    assert listed(world, owner="bob", name="alpha") == []
    assert listed(world, "searches", owner="ada") == [sought["id"]]
    assert [world.job(job)["owner"] for job in (mine[1], theirs, own)] == ["ada", "bob", "admin"]
    assert sought["owner"] == "ada"
