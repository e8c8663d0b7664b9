"""Runs beside each other: who is compared, in what they differ, and that all go in step."""

from __future__ import annotations

import pytest
from looks import DARK, LIGHT, PHONE, check_accessible

from tests import rows


@pytest.fixture
def query(house):
    return f"?run={house.long}&run=short&run={house.search}/t-00001"


def named(page) -> list[str]:
    return [row.th.a.text for row in page.select(".compared tbody tr")]


def test_runs_are_compared_by_id_or_name_and_trials_by_their_search(read, house, query):
    page = read(f"/compare{query}")
    assert named(page) == ["digits-long", "short", "lr-search/t-00001"]
    assert [row.th.a["href"] for row in page.select(".compared tbody tr")] == [
        f"/runs/{house.long}", f"/runs/{house.by_name['short']}", f"/searches/{house.search}/trials/t-00001",
    ]  # fmt: skip


def test_only_fields_that_differ_have_a_column(read, house, query):
    page = read(f"/compare{query}")
    heads = [head.text for head in page.select(".compared th.differs")]
    assert "optimizers.G.lr" in heads and "train.batch" not in heads and "name" not in heads
    at = heads.index("optimizers.G.lr")
    values = [row.select("td.value")[at].text for row in page.select(".compared tbody tr")]
    trial = read.client.get(f"/v1/searches/{house.search}/trials/t-00001").json()
    assert values[:2] == ["0.0005", "0.002"] and float(values[2]) == pytest.approx(
        trial["values"]["optimizers.G.lr"], 1e-3
    )
    same = read(f"/compare?run={house.by_name['rests']}&run={house.by_name['tried']}")
    assert "Their specs are the same." in same.text


def test_the_best_score_stands_out(read, house, query):
    page = read(f"/compare{query}")
    scores = [row.select("td.number")[1] for row in page.select(".compared tbody tr")]
    best = min(scores, key=lambda cell: float(cell.text))
    assert best.strong and sum(cell.strong is not None for cell in scores) == 1


def test_grids_are_those_at_equal_images_that_all_have_reached(read, house, query):
    def steps(page):
        return [int(line["data-step"]) for line in page.select(".side .timeline")]

    assert steps(read(f"/compare{query}")) == [150, 160, 200]  # 10,240 images: of the second its newest
    assert steps(read(f"/compare{query}&at=0")) == [50, 40, 100]
    assert steps(read(f"/compare{query}&at=6400")) == [100, 80, 100]


def test_one_is_added_and_taken_out_with_plain_forms_and_links(read, house, query):
    page = read(f"/compare{query}")
    form = page.find("input", id="add").find_parent("form")
    assert form["method"] == "get" and [field["value"] for field in form.select("[type=hidden]")] == [
        house.long, house.by_name["short"], f"{house.search}/t-00001",
    ]  # fmt: skip
    gone = read("/compare" + page.find("a", attrs={"aria-label": "Take short out"})["href"])
    assert named(gone) == ["digits-long", "lr-search/t-00001"]


@pytest.mark.parametrize("wrong", ["nope", "j-ffffffffffff", "<b>", "s-000000000000/t-00001", "a/b/c", "%00"])
def test_what_is_not_there_is_named_and_the_others_are_compared(read, house, wrong):
    page = read(f"/compare?run={house.long}&run={wrong}")
    assert named(page) == ["digits-long"] and page.find(id="wrong").code.text and "Add another one" in page.text


def test_a_search_is_refused_with_what_to_write_instead(read, house):
    assert f"{house.search}/t-00000" in read(f"/compare?run={house.search}").find(id="wrong").text


def test_nothing_chosen_says_what_to_do(read):
    page = read("/compare")
    assert "Add two runs or more" in page.text and not page.select(".side")
    assert read("/compare?run=&run=").h1.text == "Compare"
    assert read("/compare?at=-1", 422).h1.text == "Invalid"


def test_names_that_repeat_are_ids_and_fifty_are_the_most(own_read, own_house):
    made = [rows.run(own_house.db, name="same") for _ in range(52)]
    page = own_read("/compare?" + "&".join(f"run={one}" for one in made))
    assert named(page) == made[:50] and "50 are compared at most" in page.find(id="wrong").text
    assert len(own_read("/compare?run=same").select(".side")) == 1, "the newest of that name"


def test_a_fork_counts_from_the_first_image_that_its_nets_were_shown(own_read, own_house):
    fork = {"mode": "weights", "job": own_house.long, "step": 100, "images": 6400, "offset": 6400}
    rows.change(own_house.db, own_house.by_name["short"], fork=fork)
    page = own_read(f"/compare?run={own_house.long}&run=short")
    side = page.select(".side")[1]
    assert side["data-offset"] == "6400" and "+ 6,400" in page.find(id="row-1").text
    own = own_read(f"/compare?run={own_house.long}&run=short&at=9000").select(".side .timeline")
    assert own[1]["data-step"] == "40"  # 2,560 of its own


@pytest.mark.system
def test_all_go_in_step_by_scrubber_keys_and_zoom(browse, query):
    page = browse(f"/compare{query}")
    where = "[...document.querySelectorAll('.side .where')].map((one) => Number(/step ([0-9,]+)/.exec(one.textContent)[1].replace(',', '')))"
    page.focus("#all")
    page.keyboard.press("Home")
    assert page.evaluate(where) == [50, 40, 100]
    page.locator("main").focus()
    page.keyboard.press("ArrowRight")  # on to the next grid of any
    assert page.evaluate(where) == [50, 40, 100] and page.input_value("[name=at]") == "2560"
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.input_value("[name=at]") == "7680" and page.evaluate(where) == [100, 120, 100]
    page.keyboard.press("]")
    assert page.evaluate("document.querySelectorAll('.side canvas:not([hidden])').length") == 3, "the same tile of all"
    page.locator("#side-0 .stage").focus()
    page.keyboard.press("ArrowRight")  # one of them leads, the others follow
    assert page.evaluate(where) == [150, 160, 100], "9,600 images"
    page.keyboard.press("Escape")
    assert page.evaluate("document.querySelectorAll('.side canvas:not([hidden])').length") == 0


@pytest.mark.system
def test_two_are_swiped_over_each_other_by_keys(browse, query):
    page = browse(f"/compare{query}")
    page.click("#swipes")
    divider = page.get_by_role("slider", name="Divider")
    divider.focus()
    page.keyboard.press("End")
    assert (
        page.evaluate("getComputedStyle(document.querySelectorAll('.over img')[1]).clipPath")
        == "inset(0px 0px 0px 100%)"
    )
    assert page.locator(".over img").first.get_attribute("alt") == "digits-long at step 150"
    page.locator("#curve-0").scroll_into_view_if_needed()
    page.locator("#curve-0 canvas").wait_for()
    page.locator("#curve-0 .u-over").hover(position={"x": 5, "y": 50})  # a curve is pointed at, and the grids go there
    assert page.evaluate("document.querySelector('#side-0 .where').textContent").startswith("step 50 ")
    page.focus("#all")
    page.keyboard.press("End")
    shown = page.locator("#curve-0 .u-legend .u-value").first
    assert shown.text_content() not in ("–", ""), "the cursor of the curves is where the grids are"


@pytest.mark.system
@pytest.mark.long
@pytest.mark.parametrize("look", [LIGHT, DARK, PHONE])
def test_comparing_is_accessible(browse, query, look):
    page = browse(f"/compare{query}", look)
    page.click("#swipes")
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
