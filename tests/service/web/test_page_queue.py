"""The queue's page: who runs with what, who waits behind whom, why and until when, and what would help."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from furnished import crowd, opened
from looks import DARK, PHONE, check_accessible
from sqlalchemy import delete, insert

from service.db.tables import Job, ServedApplication
from service.gateway.ray_jobs import Node
from service.runs.growth import grown
from service.runs.room import Need
from service.web.queue import lineup
from service.web.queue.lineup import PAGE, change_words
from tests import rows
from trainer.nodes import NodeShape


def fill(house):
    """Its cluster is full, and nothing in it answers questions."""
    crowd(house)
    with house.db.begin() as session:
        session.execute(delete(ServedApplication))


@pytest.fixture
def crowded(own_read):
    fill(own_read.house)
    return own_read


def words(element):
    return " ".join(element.text.split())


def of(page, name, table="waits"):
    """The row of a run."""
    return next(row for row in page.select(f"#{table} tbody tr") if row.select_one(".named a").text == name)


def names(page, table="waits"):
    return [link.text for link in page.select(f"#{table} .named a")]


def test_who_runs_is_there_with_what_they_take(crowded):
    page, house = crowded("/queue"), crowded.house
    assert names(page, "on") == ["short", "digits-long", "lr-search", "population"]
    short = of(page, "short", "on")
    assert "2 CPUs" in words(short) and "in about 2 min" in words(short)
    assert of(page, "digits-long", "on").a["href"] == f"/runs/{house.long}"
    assert of(page, "lr-search", "on").a["href"] == f"/searches/{house.search}"


def test_who_waits_is_there_in_order_with_why_and_when(crowded):
    page = crowded("/queue")
    assert names(page) == ["wide-0", "waits", "waits-too", "wide-1", "wide-2", "wide-3"]
    assert [place.text for place in page.select("#waits .place")] == ["1", "2", "3", "4", "5", "6"]
    assert "6 in line" in page.find(id="waits").text
    first = of(page, "wide-0")
    assert "waits for 4 CPUs, 2 are free" in words(first) and "2 × 2 CPUs" in words(first)
    assert [time["data-time"] for time in first.select(".starts time")][:2] == ["until", "until"]
    delayed = words(of(page, "wide-1"))
    assert "Counts as submitted 2.0 h later, because grace had used 1.5 h and had 0.5 h in hand" in delayed


def test_what_would_start_it_sooner_is_one_click_away_for_whoever_may(crowded):
    row = of(crowded("/queue"), "wide-0")
    form = row.select_one(".starts form")
    assert form.button.text == "Take 1 worker" and "then it starts now" in words(row)
    asked = {"json": json.loads(form["data-body"]), "headers": {"If-Match": form["data-match"]}}
    reply = crowded.client.request(form["data-method"], form["action"], **asked)
    assert reply.status_code == 200 and reply.json()["spec"]["resources"]["workers"] == 1
    late = {**asked, "json": {"set": {"queue.priority": 80}}}  # somebody who saw it before that
    assert crowded.client.request("PATCH", form["action"], **late).status_code == 412
    other = of(crowded.as_("grace", "user")("/queue"), "wide-0")
    assert not other.select("form") and "50" in words(other)


def test_a_change_is_told_in_words():
    assert change_words({"resources.workers": 1}) == "1 worker"
    assert change_words({"resources.min_workers": 2}) == "at least 2 workers"
    assert change_words({"base.resources.workers": 3}) == "3 workers a trial"


def test_nodes_say_what_is_used_of_them(crowded):
    page = crowded("/queue")
    gauges = [words(gauge) for gauge in page.select("#cluster .gauge")]
    assert gauges == [
        "CPUs 14 of 16 used",
        "GPUs 0 of 2 used",
        "CPUs 7 of 8 used",
        "GPUs 0 of 2 used",
        "CPUs 7 of 8 used",
    ]


def test_nodes_that_may_be_started_are_told_apart_from_those_that_are_there(own_read, monkeypatch):
    shapes = (NodeShape(4, 64, 8, name="gpu-8"), NodeShape(1, 16))
    nodes = grown([Node("n", 4, 4)], shapes, [Need(1, 1, 1)])
    monkeypatch.setattr("service.web.queue.lineup.sight.cluster", lambda *_: nodes)
    page = own_read("/queue")
    assert [words(gauge) for gauge in page.select("#cluster .gauge")] == ["CPUs 0 of 4 used"]
    assert [words(item) for item in page.select("#cluster .more li")] == [
        "Up to 4 more may be started: gpu-8, 64 CPUs and 8 GPUs each – asked for, and haven't come",
        "Up to 1 more may be started: 16 CPUs each",
    ]


def test_where_nobody_has_looked_of_late_ray_is_asked_and_a_dead_one_holds_up_nothing(own_read, monkeypatch):
    assert words(own_read("/queue").select_one("#cluster .gauge")) == "CPUs 0 of 4 used"
    own_read.house.ray.unreachable = True
    assert "can't be reached" in own_read("/queue").find(id="cluster").text
    own_read.house.ray.unreachable = False
    monkeypatch.setattr("service.web.queue.routes.RAY_SECONDS", 0.05)
    stop = threading.Event()
    own_read.house.ray.before = lambda call, _: call == "nodes" and stop.wait(20)
    page = own_read("/queue")
    stop.set()
    assert "Ray doesn't answer" in page.find(id="cluster").text and names(page) == ["waits", "waits-too"]


def test_what_answers_questions_takes_its_place_and_an_administrator_ends_it(crowded):
    values = {
        "name": "models",
        "phase": "ready",
        "cpus": 1.0,
        "replicas": 2,
        "running": 1,
        "asked_at": datetime.now(UTC),
    }
    with crowded.house.db.begin() as session:
        session.execute(insert(ServedApplication).values(values))
    page = crowded("/queue")
    told = words(page.select_one(".served li"))
    assert told.startswith("Questions to models: ready, keeps 2 CPUs, 1 of 2 replicas answer, asked ")
    assert page.select_one('form[action="/v1/serve"]')["data-method"] == "delete"
    assert not crowded.as_("ada", "user")("/queue").select('form[action="/v1/serve"]')


def test_thousands_wait_on_pages_of_their_own(crowded, monkeypatch):
    db, spec = crowded.house.db, rows.spec("job")
    with db.begin() as session:
        first = session.query(Job).order_by(Job.number.desc()).first().number
        usual = {"kind": "job", "family": "dcgan", "spec": spec, "spec_digest": "d", "principal": "bootstrap", "request_digest": "r",
                 "due_at": datetime.now(UTC), "state": "queued", "attempt": 0, "owner": "eve", "created_at": datetime.now(UTC),
                 "workers": 1, "worker_cpus": 1.0, "reason": "waits for 1 CPU", "lacks": "cpu"}  # fmt: skip
        session.execute(insert(Job), [
            {**usual, "id": f"j-e{number:011x}", "name": f"many-{number}", "place": 10**9 + first + number} for number in range(2000)
        ])  # fmt: skip
    page = crowded("/queue")
    assert len(names(page)) == PAGE and "2,006 in line" in words(page.find(id="waits"))
    following = page.find("a", rel="next")["href"]
    assert following == f"/queue?from={PAGE + 1}"
    far = crowded("/queue?from=1501")
    assert [place.text for place in far.select("#waits .place")][:2] == ["1501", "1502"]
    assert (
        "its page says when" in words(of(far, "many-1494"))
        and far.find("a", string="Those ahead")["href"] == "/queue?from=1476"
    )
    assert len(crowded("/queue?from=2001").select("#waits tbody tr")) == 6
    monkeypatch.setattr(lineup, "RUNNING", 2)
    assert "and 2 more" in crowded("/queue").find(id="on").text


def test_rows_stay_where_they_are_and_a_change_of_the_order_is_announced(crowded):
    house, before = crowded.house, crowded("/queue")
    look = before.body["data-look"]
    assert not crowded(look).select("#changed a")
    rows.change(house.db, house.by_name["wide-0"], state="running", watched=True)
    rows.change(house.db, house.by_name["short"], state="succeeded", watched=False)
    now = crowded(look)
    assert names(now) == names(before) and names(now, "on") == names(before, "on")
    assert "It waits no longer" in words(of(now, "wide-0")) and not of(now, "wide-0").select("form")
    assert "succeeded" in words(of(now, "short", "on")) and of(now, "waits").select_one(".place").text == "1"
    assert now.select_one("#changed a")["href"] == "/queue"


def test_one_that_rests_after_a_lost_attempt_stands_beside_the_line(crowded):
    house = crowded.house
    rows.change(house.db, house.by_name["waits"], due_at=datetime.now(UTC) + timedelta(minutes=5), attempt=1)
    page = crowded("/queue")
    rests = of(page, "waits")
    assert names(page)[-1] == "waits" and rests.select_one(".place").text == "–"
    assert "Its next attempt begins in 4 min" in words(rests)


def test_an_empty_queue_says_so(own_read):
    with own_read.house.db.begin() as session:
        session.query(Job).update({"state": "succeeded", "watched": False})
    page = own_read("/queue")
    assert "Nothing runs." in page.text and "The line is empty." in page.text


@pytest.mark.parametrize(
    "query",
    ["from=0", "from=x", "from=999999999", "seen=maybe", "on=%00", "waits=../x", "seen=true&on=j-none", "seen=true"],
)
def test_no_address_breaks_the_page(read, query):
    reply = read.client.get(f"/queue?{query}", headers={"Accept": "text/html"})
    assert reply.status_code in (200, 422) and "<h1>" in reply.text


@pytest.mark.system
def test_a_click_takes_fewer_workers_or_another_priority(browse, own_house):
    fill(own_house)
    with opened(own_house):
        page = browse("/queue", house=own_house)
        page.wait_for_selector("#live[data-state=live]")
        check_accessible(page)
        row = f"#waits-{own_house.by_name['wide-0']}"
        page.click(f"{row} .starts button")
        page.wait_for_selector(f"{row} .starts button", state="detached")
        assert page.locator(f"{row} [data-title=Takes]").text_content().split() == ["2", "CPUs"]
        field = page.locator(f"#waits-{own_house.by_name['waits']} .priority input")
        field.fill("80")
        field.press("Enter")
        page.wait_for_selector(".toast >> text=waits has another priority")
        page.close()


@pytest.mark.system
@pytest.mark.long
@pytest.mark.parametrize("look", [DARK, PHONE])
def test_the_queue_is_accessible_and_no_wider_than_the_screen(browse, own_house, look):
    fill(own_house)
    with opened(own_house):
        page = browse("/queue", look, own_house)
        page.wait_for_selector("#live[data-state=live]")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        check_accessible(page)
        page.close()
