"""What people change has an edition: nobody overwrites what they haven't seen, whatever the training does meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from properties import examples
from sqlalchemy import update
from sqlalchemy.orm import Session

from service import etags
from service.db.tables import OwnerCaps
from service.errors import Invalid, PreconditionFailed
from service.owners import store

SEARCH = {"base": {"recipe": "dcgan-digits"}, "space": {"train.seed": [1, 2]}, "algorithm": "random", "trials": 2}
NOW = etags.edition("a spec", "run")


def passes(asked: str | None) -> bool:
    try:
        etags.check(asked, NOW, "job j-1")
    except PreconditionFailed:
        return False
    return True


def test_an_edition_is_named_by_itself_or_with_the_state_behind_it_among_others_or_by_a_star() -> None:
    with_state = f'{NOW[:-1]}.0123456789abcdef"'
    for asked in (None, "*", NOW, with_state, f'"x", {NOW}', f'W/"y",{with_state} , "z"'):
        assert passes(asked), asked
    for asked in ('""', '"x"', f'"x{NOW[1:]}', f"W/{NOW}", f"W/{with_state}", '".0123456789abcdef"'):
        assert not passes(asked), asked
    for asked in ("", "x", NOW.strip('"'), NOW[:-1], f"{NOW} {NOW}", f"{NOW},", "* , *"):
        with pytest.raises(Invalid, match="is no list of ETags"):
            passes(asked)


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=3), st.text(max_size=3))
def test_editions_are_those_of_what_they_stand_for(spec: dict[str, Any], desired: str) -> None:
    turned = dict(reversed(spec.items()))
    assert etags.edition(spec, desired) == etags.edition(turned, desired), "however it is stored"
    assert etags.edition({**spec, "more": 1}, desired) != etags.edition(spec, desired)
    assert passes(etags.edition("a spec", "run"))


class Editor:
    """Someone who edits what they have seen."""

    def __init__(self, world: Any, url: str) -> None:
        self.world, self.url, self.seen = world, url, ""
        self.look()

    def look(self) -> dict[str, Any]:
        shown = dict(self.world.client.get(self.url).json())
        self.seen = shown["etag"]
        return shown

    def edit(self, **changes: Any) -> Any:
        return self.world.client.patch(self.url, json={"set": changes}, headers={"If-Match": self.seen})


def submitted(world: Any, kind: str) -> str:
    if kind == "jobs":
        return f"/v1/jobs/{world.submit()}"
    reply = world.client.post("/v1/searches", json={"search": SEARCH})
    assert reply.status_code == 201, reply.text
    return f"/v1/searches/{reply.json()['id']}"


@pytest.mark.databases
@pytest.mark.parametrize("kind", ["jobs", "searches"])
def test_of_two_editors_the_later_hears_412_with_what_to_do_and_then_succeeds(world: Any, kind: str) -> None:
    url = submitted(world, kind)
    ada, bob = Editor(world, url), Editor(world, url)
    assert ada.edit(notes="ada's").status_code == 200
    refused = bob.edit(notes="bob's")
    assert (refused.status_code, refused.headers["content-type"]) == (412, "application/problem+json")
    problem = refused.json()
    assert problem["type"] == "urn:agon:problem:precondition-failed"
    now = ada.look()
    assert (now["notes"], refused.headers["etag"]) == ("ada's", now["etag"])
    assert f"If-Match: {now['etag']}" in problem["detail"]
    bob.seen = refused.headers["etag"]
    assert bob.edit(notes="ada's and bob's").json()["notes"] == "ada's and bob's"
    assert world.client.patch(url, json={"set": {"notes": "whoever's"}}).status_code == 200, "nobody has to ask"
    assert world.client.patch(url, json={"set": {"notes": ""}}, headers={"If-Match": "*"}).status_code == 200
    gone = world.client.patch(url[:-1] + "x", json={"set": {"notes": ""}}, headers={"If-Match": "*"})
    assert gone.status_code == 404
    unquoted = world.client.patch(url, json={"set": {"notes": "x"}}, headers={"If-Match": "abc"}).json()
    assert (unquoted["status"], unquoted["errors"][0]["path"]) == (422, "if-match")


@pytest.mark.databases
def test_of_many_who_edit_at_once_what_they_all_have_seen_one_succeeds(world: Any) -> None:
    url = submitted(world, "jobs")
    editors = [Editor(world, url) for _ in range(6)]
    with ThreadPoolExecutor(len(editors)) as pool:
        answers = list(pool.map(lambda at: editors[at].edit(**{f"labels.n{at}": "x"}), range(len(editors))))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * (len(editors) - 1)
    (winner,) = (at for at, answer in enumerate(answers) if answer.status_code == 200)
    assert editors[0].look()["labels"] == {f"n{winner}": "x"}


def test_an_edit_that_was_made_already_is_not_refused_when_it_is_sent_again(world: Any) -> None:
    ada = Editor(world, submitted(world, "jobs"))
    assert [ada.edit(notes="once").status_code for _ in range(2)] == [200, 200]
    assert ada.edit(notes="another").status_code == 412


def test_what_a_training_does_is_a_new_state_and_no_new_edition_and_what_people_do_is_both(world: Any) -> None:
    job = world.running()
    url = f"/v1/jobs/{job}"

    def look(known: str | None = None) -> Any:
        return world.client.get(url, headers={"If-None-Match": known} if known else {})

    first = look()
    assert first.headers["etag"].startswith(first.json()["etag"][:-1] + ".")
    again = look(first.headers["etag"])
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert look(f"W/{first.headers['etag']}").status_code == 304, "a proxy that compresses makes it weak"
    world.tell(job, "progress", metrics={"x": 1.0}, images_per_second=5.0)
    second = look(first.headers["etag"])
    assert (second.status_code, second.json()["etag"]) == (200, first.json()["etag"])
    assert second.headers["etag"] != first.headers["etag"]
    told = {"If-Match": first.headers["etag"]}
    edited = world.client.patch(url, json={"set": {"notes": "while it trains"}}, headers=told)
    assert edited.status_code == 200, "with the tag of the answer, too"
    assert edited.json()["etag"] != second.json()["etag"]
    assert look().json()["etag"] == edited.json()["etag"]
    listed = world.client.get("/v1/jobs").json()["items"][0]
    assert listed["etag"] == edited.json()["etag"]
    assert world.client.post(f"{url}/pause").json()["etag"] != edited.json()["etag"], "someone wants something else"


NAMES = ("ada", "bob")
MOVES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["look", "label", "notes"]), st.integers(0, 2)), max_size=14
)


@examples(6, suppress_health_check=list(HealthCheck))
@given(MOVES)
def test_whatever_editors_do_in_turn_nothing_is_overwritten_unseen(world: Any, moves: list[Any]) -> None:
    url = submitted(world, "jobs")
    editors = {name: Editor(world, url) for name in NAMES}
    before: dict[str, Any] = {"labels": {}, "notes": ""}
    seen = dict.fromkeys(NAMES, before)
    for name, what, number in moves:
        if what == "look":
            editors[name].look()
            seen[name] = before
            continue
        after = (
            {**before, "labels": {**before["labels"], name: str(number)}}
            if what == "label"
            else {**before, "notes": str(number)}
        )
        reply = editors[name].edit(**({f"labels.{name}": str(number)} if what == "label" else {"notes": str(number)}))
        assert reply.status_code == (200 if seen[name] == before or after == before else 412), reply.text
        before = after if reply.status_code == 200 else before
        shown = world.client.get(url).json()
        assert {field: shown[field] for field in before} == before


@pytest.mark.databases
def test_caps_of_an_owner_are_changed_as_they_were_seen_or_not_at_all(world: Any) -> None:
    url = "/v1/owners/ada"

    def etag() -> str:
        shown = world.client.get(url)
        known = world.client.get(url, headers={"If-None-Match": shown.headers["etag"]})
        assert known.status_code == 304
        return str(shown.json()["etag"])

    def cap(tag: str, **caps: int) -> int:
        return int(world.client.put(f"{url}/caps", json=caps, headers={"If-Match": tag}).status_code)

    none = etag()
    assert [cap(none, running=1), cap(none, running=2), cap(none, running=1)] == [200, 412, 200]
    one = etag()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda most: cap(one, running=most), range(2, 8)))
    assert sorted(answers).count(200) == 1
    assert set(answers) <= {200, 409, 412}
    assert world.client.get(url).json()["caps"]["running"] == 2 + answers.index(200)
    assert world.client.delete(f"{url}/caps", headers={"If-Match": one}).status_code == 412
    assert world.client.delete(f"{url}/caps", headers={"If-Match": etag()}).status_code == 204
    assert (etag(), cap("*", gpus=3)) == (none, 200)
    world.client.delete(f"{url}/caps")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda most: cap(none, running=most), range(2, 8)))
    assert sorted(answers).count(200) == 1, "who has none yet gets them from one"


@pytest.mark.databases
@pytest.mark.parametrize("ask", ["put", "delete"])
def test_caps_that_change_between_the_look_and_the_write_are_not_overwritten(
    world: Any, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    url, seen = "/v1/owners/ada", store._seen
    world.client.put(f"{url}/caps", json={"running": 1})

    def late(session: Session, name: str, if_match: str | None) -> Any:
        found = seen(session, name, if_match)
        session.execute(update(OwnerCaps).values(running=9))
        return found

    monkeypatch.setattr(store, "_seen", late)
    tag = world.client.get(url).json()["etag"]
    body = {"json": {"running": 2}} if ask == "put" else {}
    assert world.client.request(ask, f"{url}/caps", headers={"If-Match": tag}, **body).status_code == 409
