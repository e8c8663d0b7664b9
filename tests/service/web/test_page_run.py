"""A run's page: what it says, what one may do, its pictures over the images seen, and that nothing of it moves by itself."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from furnished import opened, tell
from looks import DARK, LIGHT, PHONE, check_accessible
from sqlalchemy import delete

from service.db.tables import Job, JobEvent
from service.web.run import head, tabs
from tests import rows
from trainer.images import GridFacts, grid, save_png

HOSTILE = "<b>&\"'</b>"
ACTS = {"Pause": "pause", "Resume": "resume", "Retry": "retry", "Cancel": "cancel", "Delete": "delete"}


@pytest.fixture
def own_served(own_house):
    """A house of one's own, at an address for longer than a browser looks at it."""
    with opened(own_house):
        yield own_house


def path(house, name="digits-long", **query):
    asked = "&".join(f"{key}={value}" for key, value in query.items())
    return f"/runs/{house.by_name[name]}" + (f"?{asked}" if asked else "")


def buttons(page):
    """What one may do, and whether one may do it now."""
    return {button.text.strip(): not button.has_attr("disabled") for button in page.select(".run-acts button")}


def draw(house, step):
    """What a training does that draws samples."""
    pixels = np.full((4, 16, 16, 1), step % 256, np.uint8)
    place = house.folder(house.long) / "samples" / f"step-{step:09d}.png"
    save_png(place, grid(pixels, 8), GridFacts.of(pixels, 8, step, 64 * step))
    tell(house, "samples", step, path=f"samples/{place.name}")


def test_the_head_says_what_it_is_and_how_far(read, house):
    page = read(path(house))
    head = page.find(id="run-head").get_text(" ", strip=True)
    for words in (
        "digits-long",
        "running",
        "training",
        "ada",
        "team=vision",
        "The first long one.",
        "40 %",
        "410 images/s",
    ):
        assert words in head, words
    assert page.progress["value"] == "0.4"


def test_a_failed_one_says_why_and_leads_to_the_log_of_the_worker(read, house):
    note = read(path(house, "digits-nan")).select_one(".note.bad")
    assert "D/loss is nan at step 420" in note.text
    assert note.a["href"].endswith("?tab=logs&rank=0")


def test_one_that_waits_says_for_what(read, house):
    page = read(path(house, "waits-too"))
    assert "needs 2 CPUs" in page.find(id="run-head").text
    assert page.find("a", href="/queue")


def test_the_newest_grid_is_a_picture_that_a_browser_keeps_for_good(read, house):
    image = read(path(house)).select_one(".stage img")
    assert f"/{12 * 50}?v=" in image["src"] and image["width"] and image["height"]
    reply = read.client.get(image["src"])
    assert reply.status_code == 200 and "immutable" in reply.headers["cache-control"]


@pytest.mark.parametrize(
    ("query", "step"),
    [({"step": 100}, 100), ({"step": 120}, 100), ({"step": 10**17}, 600), ({"step": 6500, "by": "images"}, 100)],
)
def test_a_step_or_images_in_the_address_show_the_next_grid(read, house, query, step):
    page = read(path(house, **query))
    assert page.select_one(".stage img")["alt"] == f"Samples at step {step}"
    assert page.select_one("nav.plain-only [aria-current]").text == str(step)


def test_every_grid_is_in_the_page_by_images_seen(read, house):
    packed = read(path(house)).find(id="run-timeline-grids")["data-grids"].split()
    assert [one.split(",")[:2] for one in packed] == [[str(50 * n), str(3200 * n)] for n in range(1, 13)]


def test_one_that_has_drawn_nothing_says_so(read, house):
    assert "has drawn no samples yet" in read(path(house, "waits")).find(id="run-none").text
    assert read(path(house, "waits")).select_one(".stage") is None


def test_a_search_has_its_own_page_and_what_is_not_there_is_a_problem(read, house):
    reply = read.client.get(f"/runs/{house.search}", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, f"/searches/{house.search}")
    assert "GET /v1/jobs" in read("/runs/j-nothing", 404).text


@pytest.mark.parametrize("query", [{"step": "-1"}, {"step": "x"}, {"tab": "<script>"}, {"by": "time"}])
def test_a_query_that_is_wrong_is_told_with_the_field(read, house, query):
    page = read(path(house, **query), 422)
    assert next(iter(query)) in page.main.text and not page.main.find("script")


def test_what_people_named_is_text(own_read, own_house):
    with own_house.db.begin() as session:
        job = session.query(Job).filter(Job.id == own_house.long).one()
        job.name, job.reason, job.spec = HOSTILE, HOSTILE, {**job.spec, "notes": HOSTILE, "labels": {"a": HOSTILE}}
    page = own_read(path(own_house))
    assert (page.h1.text == HOSTILE and page.main.b is None) or HOSTILE in page.h1.text
    assert not page.find_all("b", string=lambda text: text and "&" in text)


def test_a_viewer_changes_nothing_and_a_user_only_what_is_theirs(own_read, own_house):
    assert buttons(own_read.as_("vera", "viewer")(path(own_house))) == {}
    assert own_read.as_("vera", "viewer")(path(own_house)).find("dialog") is None
    assert list(buttons(own_read.as_("grace", "user")(path(own_house)))) == ["Fork …"]
    assert "Cancel" in buttons(own_read.as_("ada", "user")(path(own_house)))


@pytest.mark.parametrize("name", ["digits-long", "digits-first", "digits-nan", "tried", "rests", "waits", "short"])
def test_what_the_page_offers_is_what_the_api_does(own_read, own_house, name):
    """Each button that can be pressed, in a house of its own: it isn't refused; one that can't would be."""
    offered = {ACTS[text]: can for text, can in buttons(own_read(path(own_house, name))).items() if text in ACTS}
    assert offered
    for act, can in offered.items():
        if act == "delete":
            continue  # there is no coming back from it
        before = _row(own_house, name)
        reply = own_read.client.post(f"/v1/jobs/{own_house.by_name[name]}/{act}")
        assert (reply.status_code == 202) is can or not can, (act, reply.text)
        _put(own_house, name, before)
    if offered.get("delete"):
        assert own_read.client.delete(f"/v1/jobs/{own_house.by_name[name]}").status_code == 204


def _row(house, name):
    with house.db.read() as session:
        job = session.query(Job).filter(Job.id == house.by_name[name]).one()
        return {"state": job.state, "desired": job.desired, "reason": job.reason, "finished_at": job.finished_at}


def _put(house, name, values):
    rows.change(house.db, house.by_name[name], **values)


def test_why_not_is_written_beside_what_can_not_be_done(own_read, own_house):
    rows.change(own_house.db, own_house.by_name["rests"], desired="stop", state="stopping")
    page = own_read(path(own_house, "rests"))
    assert buttons(page)["Cancel"] is False
    assert "pause: it is being cancelled" in page.find(id="run-why").text


def test_a_limit_that_is_used_up_keeps_it_from_going_on(own_read, own_house):
    with own_house.db.begin() as session:
        job = session.query(Job).filter(Job.id == own_house.by_name["rests"]).one()
        job.spec, job.run_seconds = {**job.spec, "limits": {**job.spec["limits"], "run": 60.0}}, 61.0
    page = own_read(path(own_house, "rests"))
    assert buttons(page)["Resume"] is False
    assert "its 1m on the cluster are used up; raise that limit first" in page.find(id="run-why").text
    assert page.find(id="turn-run")["value"] == "1m"


def test_edits_go_by_the_etag_that_was_seen(own_read, own_house):
    page = own_read(path(own_house))
    match = page.select_one("#run-edit form")["data-match"]
    changed = own_read.client.patch(
        f"/v1/jobs/{own_house.long}", json={"set": {"notes": "another"}}, headers={"If-Match": match}
    )
    assert changed.status_code == 200
    assert own_read(path(own_house)).select_one("#run-edit form")["data-match"] != match


# -- tabs


def cells(row):
    return [cell.get_text(" ", strip=True) for cell in row.find_all(["td", "th"])]


@pytest.mark.parametrize("tab", ["samples", "scores", "checkpoints", "logs", "spec", "lineage", "usage"])
@pytest.mark.parametrize("name", ["digits-long", "digits-nan", "waits", "rests"])
def test_every_part_of_every_run_is_a_page(read, house, name, tab):
    page = read(path(house, name, tab=tab, step=100))
    assert page.select_one("#run-tabs [aria-current]")["href"].endswith("step=100")
    assert len(page.find_all("h1")) == 1


def test_scores_stand_with_their_spread_and_what_they_rest_on(read, house):
    page = read(path(house, tab="scores"))
    newest = page.select("#run-scores tbody > tr")[0]
    assert cells(newest)[:3] == ["600", "38,400", "15.98 ± 0.4"]
    assert "antialias" in newest.details.text and newest.a["href"].endswith("?step=600")


def test_scores_go_on_by_pages(own_read, own_house, monkeypatch):
    monkeypatch.setattr(tabs, "PAGE", 1)
    tell(own_house, "scores", 400, scores={"fid": 1.5, "recall": float("nan")})
    page = own_read(path(own_house, tab="scores"))
    assert cells(page.select("#run-scores tbody > tr")[0])[:3] == ["400", "25,600", "1.5"]
    older = own_read(f"/runs/{own_house.long}" + page.find("a", string="Older ones")["href"])
    assert cells(older.select("#run-scores tbody > tr")[0])[0] == "200"
    assert own_read(path(own_house, tab="scores", cursor="x"), 422)


def test_checkpoints_can_be_pinned_deleted_downloaded_and_forked(own_read, own_house):
    row = own_read(path(own_house, tab="checkpoints")).find(id="checkpoint-200")
    assert cells(row)[:2] == ["200", "12,800"] and {"newest", "best"} <= {one.text for one in row.select(".label")}
    assert row.find("button", string="Delete").has_attr("disabled")  # it goes on from that
    assert own_read.client.get(row.find("a", string="Download")["href"]).status_code == 200
    pin = row.find("button", string="Pin").find_parent("form")
    assert own_read.client.put(pin["action"]).status_code == 200
    row = own_read(path(own_house, tab="checkpoints")).find(id="checkpoint-200")
    assert row.find("button", string="Unpin") and "pinned" in row.text


def test_the_last_lines_of_a_log_are_text(read, house):
    page = read(path(house, tab="logs", attempt=1, rank=0))
    log = page.find(id="run-log")
    assert "step 390 <b>D/loss</b> 0.7" in log.text and log.b is None
    assert log["data-place"].startswith("1-") and log["data-url"].endswith("?rank=0")
    assert [one.text for one in page.select("#log-rank option")] == ["the driver", "rank 0", "rank 1"]


def test_lines_with_a_word_are_found_in_the_logs_of_all_ranks(read, house):
    found = read(path(house, tab="logs", attempt=1, text="step 390 <b>")).select_one("pre.log").text.splitlines()
    assert [line.split(" ", 1)[0] for line in found] == ["0:40:", "1:40:"]
    assert "there are none" in read(path(house, tab="logs", attempt=1, text="%22%3E<i>")).text
    assert read(path(house, tab="logs", attempt=9), 404)
    assert read(path(house, tab="logs", rank="7"), 404)


def test_a_spec_stands_beside_the_recipe_that_it_is_next_to(own_read, own_house):
    with own_house.db.begin() as session:
        job = session.query(Job).filter(Job.id == own_house.long).one()
        job.spec = {**job.spec, "train": {**job.spec["train"], "batch": 17}}
    page = own_read(path(own_house, tab="spec"))
    assert "dcgan-digits" in page.caption.text
    assert ["train.batch", "32", "17"] in [cells(row) for row in page.select("tbody tr")]
    assert "batch: 17" in page.pre.text


def test_a_fork_stands_beside_its_parent_and_both_know_of_it(own_read, own_house):
    asked = {"from": {"job": own_house.long}, "set": {"train.images": 400_000, "name": "further"}}
    made = own_read.client.post("/v1/jobs", json=asked).json()["id"]
    page = own_read(f"/runs/{made}?tab=spec")
    assert [cells(row)[0] for row in page.select("tbody tr")] == ["train.images"]
    assert page.caption.a["href"] == f"/runs/{own_house.long}"
    assert own_read(f"/runs/{made}").find(id="run-head").find("a", href=f"/runs/{own_house.long}?step=200")
    children = own_read(path(own_house, tab="lineage")).select(".run-line a")
    assert [one.text for one in children] == ["further"]
    assert own_read(f"/runs/{made}?tab=lineage").select_one(".run-line a").text == "digits-long"


def test_what_happened_stands_newest_first(read, house):
    rows_ = [
        cells(row) for row in read(path(house, tab="usage")).select("section .columns > div:nth-of-type(2) tbody tr")
    ]
    assert [row[1] for row in rows_] == ["running", "warning", "started"]


# -- what the sentinel found


def test_a_collapse_is_told_with_pictures_from_before_and_the_fork_that_mends_it(read, house):
    found = read(path(house)).find(id="run-findings")
    # It was told at step 400, after three looks a hundred steps apart: the first of them was at 200.
    assert "may have begun at step 200" in found.summary.text
    assert [one["data-step"] for one in found.select(".pair a")] == ["150", "400"]
    assert found.find("button") is None and "No checkpoint from before it is kept" in found.text
    marks = json.loads(read(path(house)).find(id="run-timeline-grids")["data-marks"])
    assert [200 * 64, "warning"] in [mark[:2] for mark in marks]


def test_the_fork_that_mends_it_begins_before_and_takes_smaller_rates(own_read, own_house):
    tell(own_house, "warning", 500, message="the training may have collapsed: D is saturated; lower optimizers.D.lr")
    button = own_read(path(own_house)).select_one("#run-findings article button")
    assert json.loads(button["data-fill"]) == {
        "from~checkpoint": 200, "from~mode": "weights", "set": "optimizers.D.lr=0.00025",
    }  # fmt: skip


def test_a_roll_back_has_no_picture_of_what_was_drawn_anew(own_read, own_house):
    told = {"reason": "G has collapsed", "from_step": 200, "to_step": 100, "lr_factor": 0.5, "count": 1}
    tell(own_house, "rolled-back", 100, **told)
    seen = own_read(path(own_house)).select_one("#run-findings article")
    assert [one["data-step"] for one in seen.select(".pair a")] == ["200"]  # from before it was told
    draw(own_house, 200)
    seen = own_read(path(own_house)).select_one("#run-findings article")
    assert seen.select(".pair a") == []


def test_another_warning_is_no_collapse(own_read, own_house):
    tell(own_house, "warning", 200, message="the disk is nearly full")
    assert "disk" not in own_read(path(own_house)).find(id="run-findings").text
    assert "disk" in own_read(path(own_house, tab="usage")).main.text


# -- in a browser


@pytest.mark.system
@pytest.mark.parametrize("look", [LIGHT, *(pytest.param(look, marks=pytest.mark.long) for look in (DARK, PHONE))])
def test_it_is_accessible_and_fits(browse, house, look):
    page = browse(path(house), look)
    page.locator("#curve-losses").scroll_into_view_if_needed()
    page.wait_for_selector(".u-wrap")
    check_accessible(page)
    width, whole = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert whole <= width


@pytest.mark.system
def test_grids_are_leafed_through_by_keys_by_typing_and_by_the_curves(browse, house):
    page = browse(path(house))
    where = page.locator(".where")
    page.wait_for_selector(".u-over")
    page.keyboard.press("ArrowLeft")
    assert where.text_content() == "step 550 · 35,200 images"
    page.wait_for_selector('.stage:not([data-waits]) img[alt="Samples at step 550"]')
    page.keyboard.press("Shift+ArrowLeft")
    assert where.text_content().startswith("step 50 ·")
    page.locator(".scrub input").press("End")
    assert where.text_content().startswith("step 600 ·")
    page.keyboard.press("g")
    page.keyboard.type("6300")
    page.select_option('[name="by"]', "images")
    page.click(".tools form button")
    assert where.text_content() == "step 100 · 6,400 images"
    page.evaluate("scrollTo(0, 0)")
    plot = page.locator(".u-over").first.bounding_box()
    page.mouse.move(plot["x"] + plot["width"] - 2, plot["y"] + 50)
    page.wait_for_selector(".where:has-text('step 600 ·')")
    page.wait_for_url("**step=600*")


@pytest.mark.system
def test_a_tile_is_shown_large_and_over_time(browse, house):
    page = browse(path(house))
    page.wait_for_selector("html.scripted .strip[hidden]", state="attached")
    page.locator(".stage").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".stage canvas:visible")
    page.keyboard.press("]")
    assert page.locator(".stage canvas").get_attribute("aria-label") == "Tile 1"
    assert page.locator(".strip button").count() == 12
    page.locator(".strip button").first.click()
    assert page.locator(".where").text_content().startswith("step 50 ·")
    page.keyboard.press("Escape")
    assert page.locator(".stage canvas").is_hidden() and page.locator(".stage img").is_visible()


@pytest.mark.system
def test_new_grids_lengthen_the_timeline_and_what_is_looked_at_stays(own_served, browse):
    page = browse(path(own_served), LIGHT, own_served)
    page.wait_for_selector("#live[data-state=live]")
    page.keyboard.press("ArrowLeft")
    page.evaluate("scrollTo(0, 150)")
    before = page.evaluate("[scrollY, document.querySelector('.where').textContent]")
    draw(own_served, 250)
    page.wait_for_selector("text=1 new – show")
    assert page.evaluate("[scrollY, document.querySelector('.where').textContent]") == before
    page.click("text=1 new – show")
    assert page.locator(".where").text_content().startswith("step 250 ·")
    page.click("text=Follow newest")
    draw(own_served, 300)
    page.wait_for_selector(".where:has-text('step 300 ·')")


@pytest.mark.system
@pytest.mark.long
def test_the_first_finding_is_told_while_one_looks_and_moves_nothing(own_served, browse):
    with own_served.db.begin() as session:
        session.execute(delete(JobEvent).where(JobEvent.kind == "warning"))
    page = browse(path(own_served), LIGHT, own_served)
    page.wait_for_selector("#live[data-state=live]")
    assert page.locator("#run-findings").count() == 0
    places = (
        "[...document.querySelectorAll('.stage, #run-curves, .tools')].map((one) => one.getBoundingClientRect().top)"
    )
    before = page.evaluate(places)
    tell(own_served, "warning", 500, message="the training may have collapsed: D is saturated; lower optimizers.D.lr")
    page.wait_for_selector("#run-found a")
    assert page.evaluate(places) == before
    page.click("#run-found a")
    page.wait_for_selector("#run-findings summary")
    assert not page.locator("#run-found a").is_visible()


@pytest.mark.system
def test_it_is_forked_with_changes_and_a_refusal_is_told_where_it_was_typed(own_served, browse):
    page = browse(path(own_served), PHONE, own_served, refused=True)
    page.click("text=Fork …")
    page.fill("#fork-set", "train.batch=7")
    page.click("#run-fork button.main")
    page.wait_for_selector("#run-fork [data-problem] .wrong")
    assert page.locator("#fork-set").input_value() == "train.batch=7"
    page.fill("#fork-set", "train.images=400000\nname=forked")
    page.click("#run-fork button.main")
    page.wait_for_selector("h1:has-text('forked')")
    with own_served.db.read() as session:
        made = session.query(Job).filter(Job.name == "forked").one()
        assert made.fork["job"] == own_served.long and made.spec["train"]["images"] == 400_000


@pytest.mark.system
def test_it_is_paused_and_edited(own_served, browse):
    page = browse(path(own_served), DARK, own_served)
    page.click("text=Pause")
    page.wait_for_selector("text=pausing …")
    page.click("text=Edit …")
    page.fill("[data-label]", "paper")
    page.fill("[data-label] + input", "yes")
    page.fill("#edit-label-1", "")
    page.click("#run-edit button.main")
    page.wait_for_selector(".label:has-text('paper=yes')")
    labels = json.loads(page.evaluate(f"fetch('/v1/jobs/{own_served.long}').then((a) => a.text())"))["labels"]
    assert labels == {"data": "digits", "paper": "yes"} or labels == {"team": "vision", "paper": "yes"}


@pytest.mark.system
def test_a_log_is_followed_and_stays_where_one_reads(own_served, browse):
    log = own_served.folder(own_served.long) / "logs" / "attempt-2" / "rank-00000.log"
    log.parent.mkdir()
    log.write_text("it begins\n")
    page = browse(path(own_served, tab="logs"), LIGHT, own_served)
    page.wait_for_selector("#run-log")
    with log.open("a") as file:
        file.write("x" * 10 + "\n" + "what comes \x1b[31mnow\x1b[0m\n" * 60)
    page.wait_for_selector("#run-log:has-text('what comes now')")
    page.evaluate("document.getElementById('run-log').scrollTop = 0")
    with log.open("a") as file:
        file.write("and later\n")
    page.wait_for_selector("#run-log:has-text('and later')")
    assert page.evaluate("document.getElementById('run-log').scrollTop") == 0


@pytest.mark.system
@pytest.mark.long
@pytest.mark.parametrize("look", [LIGHT, DARK, PHONE])
def test_every_part_is_accessible_and_fits(browse, house, look):
    page = browse(path(house), look)
    for tab in ("scores", "checkpoints", "logs", "spec", "lineage", "usage"):
        page.goto(path(house, tab=tab))
        check_accessible(page)
        width, whole = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
        assert whole <= width, tab
    page.goto(path(house))
    page.click("#run-findings summary")
    page.click("text=Priority and limits …")
    check_accessible(page)


@pytest.mark.system
@pytest.mark.long
def test_a_forks_curves_go_on_from_its_parents(own_served, own_read, browse):
    made = own_read.client.post("/v1/jobs", json={"from": {"job": own_served.long}, "set": {"train.images": 400_000}})
    page = browse(f"/runs/{made.json()['id']}", LIGHT, own_served)
    page.wait_for_selector("text=Nothing is measured yet.")
    page.click("text=With what was before")
    page.wait_for_selector("#curve-losses .u-wrap")
    assert page.locator("[data-none]").is_hidden()


def test_the_link_to_mlflow_tells_nobody_the_password_that_this_server_has() -> None:
    ctx = SimpleNamespace(settings=SimpleNamespace(mlflow_uri="http://agon:secret@mlflow:5000/"))
    row = SimpleNamespace(mlflow_run_id="7")
    assert head._record(ctx, row) == "http://mlflow:5000/#/runs/7"
