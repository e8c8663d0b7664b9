"""The table of runs: what it says of each, how it is filtered and gone through, that it stays where it is while runs go on."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from furnished import opened
from looks import DARK, LIGHT, PHONE, check_accessible
from PIL import Image

from service.bodies.states import State
from service.db.tables import Job
from service.gateway.ray_jobs import Node
from service.runs.sight import Watch
from service.web.runs.listing import PAGE
from tests import rows

SVG = "image/svg+xml"


def shown(page):
    """Names of the runs, in order."""
    return [row["data-name"] for row in page.select("#rows tr[data-run]")]


def row_of(page, name):
    return page.select_one(f'#rows tr[data-name="{name}"]')


def words(element):
    return " ".join(element.text.split())


def test_the_first_page_is_that_of_the_runs(read):
    reply = read.client.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/runs")


def test_every_run_says_what_it_is_how_far_and_how_well(read, house):
    page = read("/runs")
    assert shown(page)[:3] == ["digits-long", "short", "waits-too"]  # newest first
    long = row_of(page, "digits-long")
    assert long.select_one(".open")["href"] == f"/runs/{house.long}" and house.long in long.text
    assert long.select_one(".state").text == "running" and "training" in words(long.select_one(".stands"))
    assert long.select_one("progress")["value"] == "0.4000"
    assert words(long.select_one(".far")) == "40 % of 50.0k, 2 min left"
    assert words(long.select_one(".scored")).startswith("fid 2")
    assert [label.text for label in long.select(".label")] == ["team=vision", "data=digits"]
    assert words(long.select_one(".whose")) == "ada"
    assert "non-finite: D/loss is nan at step 420" in words(row_of(page, "digits-nan"))
    assert [time["data-time"] for time in row_of(page, "digits-first").select(".made time")] == ["ago", "ago"]


def test_one_that_waits_says_its_place_and_when_it_starts(own_read):
    house = own_read.house
    rows.change(house.db, house.long, workers=1, worker_cpus=2.0)
    rows.change(house.db, house.by_name["short"], state="succeeded", watched=False)
    Watch(house.db).see([Node("n", 2.0, 0.0)], datetime.now(UTC))
    page = own_read("/runs?state=queued")
    first = words(row_of(page, "waits").select_one(".reason"))
    assert first.startswith("next in line, starts in ") and first.endswith("; needs 2 CPUs, 0 are free")
    assert words(row_of(page, "waits-too").select_one(".reason")).startswith("2nd in line")


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=queued", ["waits-too", "waits"]),
        ("state=queued&owner=ada", ["waits-too"]),
        ("name=short&family=&owner=&label=&score=", ["short"]),
        ("family=nosuch", []),
        ("label=team=vision", ["digits-long"]),
        ("label=team=vision&label=data=digits&label=", ["digits-long"]),
        ("label=team%3Dsound", []),
        ("score=fid<1", []),
    ],
)
def test_filters_are_those_of_the_api_and_empty_fields_are_none(read, query, names):
    page = read(f"/runs?{query}")
    assert shown(page) == names
    kept = {field["name"]: field["value"] for field in page.select("#filter input[value]") if field["value"]}
    assert all(f"{name}={value}" in query.replace("%3D", "=") for name, value in kept.items())
    if not names:
        assert "No run is so." in page.text and page.find("a", string="Show all runs")


def test_a_state_is_chosen_among_the_other_filters_and_mine_are_mine(read):
    page = read("/runs?owner=ada&state=queued")
    chips = {chip.text: chip["href"] for chip in page.select(".chips a")}
    assert chips["failed"] == "/runs?owner=ada&state=failed" and chips["all"] == "/runs?owner=ada"
    assert page.select_one(".chips [aria-current]").text == "queued"
    assert chips["mine"] == "/runs?state=queued&owner=admin"


@pytest.mark.parametrize(
    ("query", "path", "value", "fix"),
    [
        ("state=nope", "state", "nope", "it is one of submitted, queued,"),
        ("name=a%20b", "name", "a b", "write all of a name"),
        ("family=%3Cb%3E", "family", "<b>", "e.g. dcgan"),
        ("owner=" + "x" * 65, "owner", "xxx", "64 at most"),
        ("label=vision", "label", "vision", "write NAME=VALUE"),
        ("label=" + "&label=".join(f"a={n}" for n in range(9)), "label", "", "8 of them at most"),
        ("score=fid", "score", "fid", "e.g. fid<20"),
    ],
)
def test_a_wrong_filter_is_told_at_its_field_with_the_fix(read, query, path, value, fix):
    page = read(f"/runs?{query}", 422)
    wrong = page.find(id=f"wrong-{path}")
    assert value in wrong.text and fix in wrong.text
    field = page.select_one(f'#filter input[name="{path}"]')
    assert path == "state" or (field["aria-invalid"] == "true" and field["aria-describedby"] == f"wrong-{path}")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=x",
        "cursor=" + "A" * 500,
        "run=%00",
        "run=../../etc",
        "newest=%ff",
        "state=%00",
        "label=%F0%9F%98%80=%00",
        "score=fid%3C1e9999",
        "&".join("run=j-1" for _ in range(200)),
        "state=running&state=failed",
        "nosuch=1",
    ],
)
def test_no_address_breaks_the_page(read, query):
    reply = read.client.get(f"/runs?{query}", headers={"Accept": "text/html"})
    assert reply.status_code in (200, 422) and "<h1>" in reply.text


def test_a_long_list_has_pages_that_keep_the_filter(own_read):
    house = own_read.house
    for number in range(PAGE + 5):
        rows.run(house.db, "job", "succeeded", name=f"many-{number:03}", owner="eve")
    page = own_read("/runs?owner=eve")
    assert shown(page) == [f"many-{number:03}" for number in reversed(range(5, PAGE + 5))]
    older = page.find("a", rel="next")["href"]
    assert older.startswith("/runs?owner=eve&cursor=")
    last = own_read(older)
    assert shown(last) == [f"many-{number:03}" for number in reversed(range(5))]
    assert last.find("a", string="Newest")["href"] == "/runs?owner=eve" and not last.find("a", rel="next")


def test_a_page_that_is_looked_at_keeps_its_rows_and_counts_what_is_new(own_read):
    house = own_read.house
    before = own_read("/runs?owner=ada")
    look = before.body["data-look"]
    assert before.body["data-events"] == "kind=job&owner=ada"
    rows.run(house.db, "job", "queued", name="later", owner="ada")
    rows.run(house.db, "job", "queued", name="others", owner="eve")
    rows.change(house.db, house.long, state="succeeded", owner="grace")
    with house.db.begin() as session:
        session.query(Job).filter(Job.id == house.by_name["digits-nan"]).update({"kind": "search"})  # gone
    now = own_read(look)
    same = [name for name in shown(before) if name != "digits-nan"]
    assert shown(now) == same and row_of(now, "digits-long").select_one(".state").text == "succeeded"
    assert f"{house.by_name['digits-nan']} was deleted." in words(now.find(id="rows"))
    assert now.select_one("#new a").text == "1 new – show" and now.select_one("#new a")["href"] == "/runs?owner=ada"


def test_an_older_page_hears_of_its_own_rows_alone(own_read):
    house = own_read.house
    for _ in range(PAGE):
        rows.run(house.db, "job", "succeeded")
    page = own_read(own_read("/runs").find("a", rel="next")["href"])
    heard = page.body["data-events"].split("&")
    assert heard == [f"run={row['data-run']}" for row in page.select("#rows tr")]
    assert "newest" not in page.body["data-look"]


def test_newest_samples_are_shown_small(read, house):
    reply = read.client.get(f"/runs/{house.long}/thumbnail")
    assert reply.status_code == 200 and reply.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(reply.content)).size == (48, 16)  # three tiles as G drew them
    again = read.client.get(f"/runs/{house.long}/thumbnail", headers={"If-None-Match": reply.headers["etag"]})
    assert again.status_code == 304


def test_a_large_grid_is_scaled_and_one_without_facts_is_shown_as_a_whole(own_read):
    house = own_read.house
    folder = house.folder(house.by_name["tried"]) / "samples"
    folder.mkdir(parents=True)
    Image.new("RGB", (900, 300), "red").save(folder / "step-000000001.png")
    reply = own_read.client.get(f"/runs/{house.by_name['tried']}/thumbnail")
    assert Image.open(io.BytesIO(reply.content)).size == (240, 80)


@pytest.mark.parametrize("content", [None, b"\x89PNG\r\n\x1a\nnothing", b"<svg onload=alert(1)>"])
def test_no_samples_or_a_broken_file_is_an_empty_picture(own_read, content):
    house, job = own_read.house, own_read.house.by_name["tried"]
    if content is not None:
        (house.folder(job) / "samples").mkdir(parents=True)
        (house.folder(job) / "samples" / "step-000000001.png").write_bytes(content)
    reply = own_read.client.get(f"/runs/{job}/thumbnail")
    assert (reply.status_code, reply.headers["content-type"]) == (200, SVG) and b"onload" not in reply.content


def test_a_thumbnail_of_no_run_is_not_found(read):
    assert read.client.get("/runs/j-000000000000/thumbnail").status_code == 404


def test_whoever_only_looks_has_no_controls(own_read):
    page = own_read.as_("eve", "viewer")("/runs")
    assert not page.select("[data-bulk]") and not page.find("a", string="New run")
    assert page.select("[data-compare]") and shown(page)


def test_the_ticked_are_compared_by_a_plain_form(read, house):
    form = read("/runs").find(id="ticked")
    assert (form["method"], form["action"]) == ("get", "/compare")
    ticks = read("/runs").select('input[name="run"][form="ticked"]')
    assert house.long in [tick["value"] for tick in ticks]


def test_names_are_text_whatever_is_in_them(own_read):
    house, evil = own_read.house, '<b onclick="x">&amp;' + "n" * 200
    rows.change(house.db, house.long, name=evil, reason=evil * 20)
    page = own_read("/runs")
    assert evil in shown(page) and not page.select("#rows b[onclick]")


def test_no_runs_at_all_leads_to_the_first(own_read):
    with own_read.house.db.begin() as session:
        session.query(Job).update({"kind": "search"})
    page = own_read("/runs")
    assert "There are no runs yet." in page.text and page.find("a", string="Submit the first one")


def test_every_state_has_a_colour_of_its_own(read):
    style = read.client.get(read("/runs").find("link", rel="stylesheet")["href"]).text
    named = {"submitted", "queued", "starting", "running", "stopping", "paused", "succeeded", "failed", "cancelled"}
    assert named == set(State) and all(f".state.{state}" in style for state in State)


@pytest.mark.system
@pytest.mark.parametrize("look", [LIGHT, pytest.param(DARK, marks=pytest.mark.long), PHONE])
def test_the_table_is_accessible_and_no_wider_than_the_screen(browse, look):
    page = browse("/runs", look)
    page.wait_for_selector("#live[data-state=live]")
    page.locator("[data-tick]").first.check()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    check_accessible(page)


@pytest.mark.system
def test_keys_move_tick_open_and_filter(browse, house):
    page = browse("/runs")
    page.wait_for_selector("html.scripted")
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == "short"
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.keyboard.press("x")
    assert page.locator("[data-count]").text_content() == "2 ticked"
    page.keyboard.press("?")
    assert "tick it" in page.locator("dialog.keys").text_content()
    page.keyboard.press("j")  # not while a dialog is open
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "digits-long"
    page.keyboard.press("/")
    page.keyboard.type("jx/")
    assert page.evaluate("document.activeElement.value") == "jx/"
    page.route("**/compare?*", lambda route: route.fulfill(body="compared"))
    page.click("[data-compare]")
    assert page.url.endswith(f"/compare?run={house.long}&run={house.by_name['short']}")


@pytest.mark.system
def test_rows_stay_while_runs_go_on_and_the_ticked_are_acted_on(browse, own_house):
    with opened(own_house):
        page = browse("/runs", house=own_house, refused=True)
        page.wait_for_selector("#live[data-state=live]")
        order = page.locator("#rows tr").evaluate_all("all => all.map((row) => row.dataset.name)")
        for name in ("rests", "waits", "digits-first"):
            page.locator(f'tr[data-name="{name}"] [data-tick]').check()
        page.set_viewport_size({"width": 1280, "height": 500})
        page.evaluate("window.scrollTo(0, 120)")
        asked = {"recipe": "dcgan-digits", "set": {"name": "brand-new"}}
        with httpx.Client(base_url=own_house.url, headers={"Authorization": f"Bearer {own_house.token}"}) as client:
            assert client.post("/v1/jobs", json=asked).status_code == 201
        page.wait_for_selector("#new a")
        assert page.locator("#new a").text_content() == "1 new – show"
        same = "all => all.map((row) => row.dataset.name)"
        assert page.locator("#rows tr").evaluate_all(same) == order and page.evaluate("window.scrollY") == 120
        assert page.locator("[data-count]").text_content() == "3 ticked"
        page.click('[data-bulk="cancel"]')
        page.click('dialog button[value="yes"]')
        page.wait_for_selector('tr[data-name="rests"] .state.cancelled')
        assert page.locator("#refused p").all_text_contents() == [
            f"digits-first: job {own_house.by_name['digits-first']} has succeeded already"
        ]
        assert page.locator("#rows tr").evaluate_all(same) == order
        page.click("#new a")
        page.wait_for_selector('tr[data-name="brand-new"]')
        assert page.locator("#rows tr").first.get_attribute("data-name") == "brand-new"
        page.close()  # before its stream breaks


@pytest.mark.system
def test_progress_is_put_into_its_row_without_asking_the_server(browse):
    page = browse("/runs")
    page.wait_for_selector("html.scripted")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("""() => {
        const run = { id: document.querySelector('tr[data-name="short"]').dataset.run };
        const data = { run, step: 9, images: 30000, data: { total_images: 50000, eta_seconds: 30 } };
        const told = new CustomEvent("agon:told", { cancelable: true, detail: { kind: "progress", data } });
        window.taken = !document.dispatchEvent(told);
    }""")
    assert page.evaluate("window.taken")
    assert page.locator('tr[data-name="short"] [data-far]').text_content() == "60 % of 50.0k, 30 s left"
    assert not [url for url in asked if "/runs" in url]


def test_times_are_those_of_the_run(own_read):
    house = own_read.house
    rows.change(house.db, house.long, created_at=datetime.now(UTC) - timedelta(days=3))
    assert words(row_of(own_read("/runs"), "digits-long").select_one(".made")) == "3 days ago began 40 min ago"
