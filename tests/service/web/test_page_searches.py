"""Searches as pages: what is shown of a search and of a trial, in which order, to whom, and what brushes and sliders do."""

from __future__ import annotations

import json

import pytest
from looks import DARK, LIGHT, PHONE, check_accessible

from service.db.tables import Job, Trial
from service.web.searches.parallel import BELOW, parallel
from tests import rows
from trainer.search import TrialRecord, TrialState, parse_search

SPACE = parse_search(
    {
        "base": "dcgan-digits",
        "space": {
            "optimizers.G.lr": {"loguniform": [1e-4, 1e-2]},
            "train.batch": {"choice": [32, 64, 128], "when": {"objective.loss": "hinge"}},
            "objective.loss": ["hinge", "non-saturating"],
        },
    }
).space


def trial(number: int, score: float | None, state: str = "completed", **values: object) -> TrialRecord:
    told = (
        []
        if score is None
        else [{"step": 10, "images": 640, "value": score, "score": score, "spread": 0.0, "seconds": 1.0}]
    )
    return TrialRecord.model_validate(
        {"id": f"t-{number:05d}", "number": number, "state": state, "values": values, "results": told}
    )


def heights(line) -> list[float]:
    return [float(point.split(",")[1]) for point in line.points.split()]


# -- parallel coordinates


def test_a_line_goes_through_its_values_on_axes_as_they_were_drawn_from():
    one = trial(0, 20.0, **{"optimizers.G.lr": 1e-3, "train.batch": 128, "objective.loss": "hinge"})
    other = trial(1, 40.0, **{"optimizers.G.lr": 1e-2, "objective.loss": "non-saturating"})
    drawn = parallel(SPACE, "fid", True, [one, other])
    lines = {line.trial: heights(line) for line in drawn.lines}
    assert lines["t-00000"] == [500, 0, 1000, 0]  # halfway of a logarithmic axis; the third category; the best on top
    assert lines["t-00001"] == [0, BELOW, 0, 1000]  # a field that it doesn't use is below the axes
    assert drawn.lines[-1].trial == "t-00000", "the best is drawn on top"
    assert drawn.gaps == {1}
    assert [axis.path for axis in drawn.axes] == [*SPACE, "fid"]


def test_the_best_is_on_top_where_high_is_good_too():
    drawn = parallel(SPACE, "recall", False, [trial(n, n / 10, **{"optimizers.G.lr": 1e-3}) for n in (1, 2, 3)])
    assert [(line.trial, heights(line)[-1]) for line in drawn.lines][-1] == ("t-00003", 0)


def test_a_trial_that_diverged_has_a_line_without_a_score():
    drawn = parallel(SPACE, "fid", True, [trial(0, 9.0, "diverged", **{"optimizers.G.lr": 1e-3})])
    assert (drawn.lines[0].state, drawn.lines[0].shade, heights(drawn.lines[0])[-1]) == ("diverged", None, BELOW)


@pytest.mark.parametrize("scores", [[5.0], [0.0, 0.0], [-2.0, -2.0], [1.0, 1000.0], [3.0, 3.0000001]])
def test_any_scores_have_an_axis_with_what_is_named_on_it(scores):
    drawn = parallel(
        SPACE, "fid", True, [trial(n, score, **{"optimizers.G.lr": 1e-3}) for n, score in enumerate(scores)]
    )
    assert all(0 <= height <= 1000 for line in drawn.lines for height in heights(line)[-1:])
    assert all(-1 <= tick.height <= 1001 for axis in drawn.axes for tick in axis.ticks)


def test_values_that_were_perturbed_beyond_the_range_are_on_the_axis():
    drawn = parallel(SPACE, "fid", True, [trial(0, 9.0, **{"optimizers.G.lr": 0.1})])
    assert heights(drawn.lines[0])[0] == 0 and drawn.axes[0].high == 0.1


# -- the list


def test_the_list_is_that_of_rest_with_its_filters(read, house):
    def names(query=""):
        return [row.th.a.text for row in read(f"/searches{query}").select("tbody tr")]

    assert names() == ["population", "lr-search"]
    assert names("?owner=ada") == ["lr-search"] == names("?state=&name=lr-search&owner=&label=&score=")
    assert names("?state=paused") == [] and names("?score=fid<1") == []
    assert "No search is like that." in read("/searches?state=paused").text
    row = read("/searches").find(id=f"row-{house.search}")
    best = read.client.get(f"/v1/searches/{house.search}").json()["best"]
    assert "11 of 16" in row.text and f"fid {best['score']:.4g}" in row.text and "asha+optuna over 4 fields" in row.text


def test_a_wrong_filter_is_named_with_its_fix(read):
    page = read("/searches?label=team&owner=ada", 422)
    field = page.find("input", attrs={"name": "label"})
    assert field["value"] == "team" and field["aria-invalid"] == "true"
    assert "no label" in page.find(id=field["aria-describedby"]).text and page.select("tbody tr") == []
    assert page.find("input", attrs={"name": "owner"})["value"] == "ada", "what was right stays written"
    assert "it is one of" in read("/searches?state=%3Cb%3E", 422).find(id="wrong-state").text


def test_its_owner_edits_a_search_extends_its_trials_and_budget_and_pins_what_a_trial_saved(read, house):
    search = f"/searches/{house.search}"
    page = read(search)
    form = page.select_one("#search-edit form")
    assert form["action"] == f"/v1{search}" and form["data-match"] == page.select_one("#search-edit form")["data-match"]
    names = {field["name"] for field in form.select("[name]")}
    assert {"set~name", "set~notes"} <= names and page.find("button", attrs={"data-opens": "search-edit"})
    pins = {form["action"]: form.get("data-method") for form in read(f"{search}/trials/t-00001").select("#saved form")}
    assert pins and all(path.endswith("/pin") and method in ("PUT", "DELETE") for path, method in pins.items())
    assert read.as_("eve", "viewer")(search).select_one("#search-edit") is None


def test_many_searches_are_paged_with_their_filter(own_read, own_house):
    for _ in range(60):
        rows.run(own_house.db, "search", "succeeded", owner="grace")
    page = own_read("/searches?owner=grace")
    assert len(page.select("tbody tr")) == 50
    older = own_read(page.find("a", string="Older ones")["href"])
    assert (
        len(older.select("tbody tr")) == 11 and older.find("a", string="The newest")["href"] == "/searches?owner=grace"
    )


# -- a search


def test_a_search_shows_what_it_is_how_far_it_is_and_its_best_trial(read, house):
    page = read(f"/searches/{house.search}")
    assert page.h1.text == "lr-search"
    head = page.find(id="head").text
    assert "11 of 16 trials ended" in head and "1 diverged" in head
    best = read.client.get(f"/v1/searches/{house.search}").json()["best"]
    told = page.find(id="best")
    assert best["id"] in told.text and f"{best['score']:.4g}" in told.text
    ranges = page.find("table").text
    assert "loguniform 1e-05 … 0.01" in ranges and "one of 32, 64, 128" in ranges
    assert len(page.select("#lines polyline")) == 12 == len(page.select("#trials tr"))


def test_the_table_says_what_the_lines_show_in_any_order(read, house):
    url = f"/searches/{house.search}"
    listed = read.client.get(f"/v1{url}/trials").json()["items"]

    def ids(query=""):
        return [row["data-trial"] for row in read(url + query).select("#trials tr")]

    assert ids() == [one["id"] for one in listed]
    assert ids("?sort=number") == sorted(ids())
    by_rate = [one["id"] for one in sorted(listed, key=lambda one: -one["values"]["optimizers.G.lr"])]
    assert ids("?sort=-optimizers.G.lr") == by_rate
    assert ids("?state=diverged") == ["t-00002"]
    assert ids("?state=") == ids(), "a form sends its empty fields, too"
    heads = read(f"{url}?sort=-images").select("th[aria-sort]")
    assert [(head.text.split()[0], head["aria-sort"]) for head in heads] == [("images", "descending")]


def test_samples_are_each_trial_s_nearest_to_so_many_images(read, house):
    url = f"/searches/{house.search}"

    def steps(query):
        return {image["src"].split("/")[-1].split("?")[0] for image in read(url + query).select("#sheet img")}

    assert steps("") == {"300"} and steps("?images=7000") == {"100"} and steps("?images=0") == {"100"}
    image = read(url).select_one("#sheet img")
    assert read.client.get(image["src"]).headers["content-type"] == "image/png"
    beside = read(url).find("a", string="Compare the best 4")["href"]
    assert len(read(beside).select(".side .timeline")) == 4
    assert image["loading"] == "lazy" and image["width"] and "Samples of t-" in image["alt"]


@pytest.mark.long
def test_importance_is_that_of_the_report(read, house):
    page = read(f"/searches/{house.search}/importance")
    shares = [float(meter["value"]) for meter in page.select("#shares meter")]
    assert shares == sorted(shares, reverse=True) and abs(sum(shares) - 1) < 0.01
    assert "PED-ANOVA" in page.text
    few = read(f"/searches/{house.by_name['population']}/importance")
    assert "under 8 it would be chance" in few.text


def test_a_population_says_who_took_over_whom(read, house):
    page = read(f"/searches/{house.by_name['population']}")
    first = page.select("#clones tbody tr")[0].text
    assert "t-00003" in first and "t-00002" in first and "optimizers.G.lr" in first
    assert page.find(id="clones") and not read(f"/searches/{house.search}").find(id="clones")


def test_only_who_may_has_controls(read, house):
    url = f"/searches/{house.search}"
    actions = {form["action"] for form in read(url).select("form[data-act]")}
    assert {f"/v1{url}/pause", f"/v1{url}/cancel", "/v1/jobs"} <= actions
    assert f"/v1{url}/trials/t-00011/stop" in actions, "the one that runs"
    other = {form["action"] for form in read.as_("grace", "user")(url).select("form[data-act]")}
    assert other == {"/v1/jobs"}, "anybody's trial may be trained for longer, as one's own job"
    assert not read.as_("viewer-1", "viewer")(url).select("form[data-act]")


def test_what_has_ended_can_be_extended_and_what_is_paused_resumed(own_read, own_house):
    url = f"/searches/{own_house.search}"
    for state, expected in (
        ("paused", {"resume", "cancel", "extend"}),
        ("failed", {"resume", "extend"}),
        ("succeeded", {"extend"}),
    ):
        rows.change(
            own_house.db, own_house.search, state=state, desired="pause" if state == "paused" else "run", watched=False
        )
        forms = own_read(url).select("#head form[data-act]")
        assert {form["action"].rpartition("/")[2] for form in forms} == expected, state


def test_a_search_without_trials_and_one_that_is_not_there_are_pages(own_read, own_house):
    empty = rows.run(own_house.db, "search", "queued", name="empty", owner="ada", reason="needs 1 CPU")
    page = own_read(f"/searches/{empty}")
    assert "No trial has been drawn yet." in page.text and "needs 1 CPU" in page.text
    assert own_read("/searches/s-none", 404).h1.text == "Not found"
    assert own_read(f"/searches/{empty}/trials/t-00001", 404).h1.text == "Not found"
    assert own_read(f"/searches/{empty}?state=odd", 422).h1.text == "Invalid"
    assert "no cursor" in own_read(f"/searches/{empty}?cursor=%00x", 422).text


def test_a_search_of_another_version_is_shown_without_its_ranges(own_read, own_house):
    with own_house.db.begin() as session:
        search = session.query(Job).filter(Job.id == own_house.search).one()
        search.spec = {**search.spec, "space": {"no.such.field": {"kind": "uniform", "low": 0, "high": 1}}}
    page = own_read(f"/searches/{own_house.search}")
    assert "another version" in page.text and len(page.select("#trials tr")) == 12
    assert own_read(f"/searches/{own_house.search}/trials/t-00001").h1.text == "t-00001"
    assert "another version" in own_read(f"/searches/{own_house.search}/importance").text


def test_what_values_are_named_is_no_part_of_the_page(own_read, own_house):
    with own_house.db.begin() as session:
        number = session.query(Job.number).filter(Job.id == own_house.search).scalar()
        row = session.query(Trial).filter(Trial.job_number == number, Trial.id == "t-00001").one()
        values = {**row.record["values"], "objective.loss": "<script>alert(1)</script>\"'"}
        row.record = {**row.record, "values": values}
    page = own_read(f"/searches/{own_house.search}")
    assert not [script for script in page.select("script") if not script.get("src")]
    assert "<script>alert(1)" in page.find(id="row-t-00001").text


def test_of_hundreds_of_trials_a_page_shows_the_best_and_leads_to_the_others(own_read, own_house):
    with own_house.db.begin() as session:
        number = session.query(Job.number).filter(Job.id == own_house.search).scalar()
        like = session.query(Trial).filter(Trial.job_number == number, Trial.number == 0).one().record
        for extra in range(100, 400):
            record = {**like, "id": f"t-{extra:05d}", "number": extra}
            session.add(Trial(job_number=number, number=extra, id=record["id"], state="completed", score=200.0 + extra,
                              images=1, record=record, stop=False))  # fmt: skip
    page = own_read(f"/searches/{own_house.search}")
    assert len(page.select("#trials tr")) == 200 == len(page.select("#lines polyline"))
    assert len(json.loads(page.find(id="known")["data-series"])) == 40
    following = page.find("a", string="The next 200")["href"]
    rest = own_read(f"/searches/{own_house.search}{following}")
    assert len(rest.select("#trials tr")) == 112 and rest.find("a", string="The best 200")


# -- a trial


def test_a_trial_shows_values_results_samples_checkpoints_and_its_log(read, house):
    url = f"/searches/{house.search}/trials/t-00001"
    page, told = read(url), read.client.get(f"/v1{url}").json()
    values = {row.th.text: [cell.text for cell in row.select("td")] for row in page.select("#values tbody tr")}
    assert set(values) == set(told["values"]) and values["train.batch"][0] == str(told["values"]["train.batch"])
    assert values["optimizers.G.lr"][-1] == "0.0005", "what the base has"
    assert len(page.select("#results tbody tr")) == len(told["results"])
    assert (
        page.find(id="trial-timeline")["data-step"] == "300"
        and page.find(id="trial-timeline-grids")["data-grids"].count(",") == 6
    )
    assert read(f"{url}?step=7000&by=images").find(id="trial-timeline")["data-step"] == "100"
    assert page.find("a", string="download")["href"] == f"/v1{url}/checkpoints/300/archive"
    assert page.find("a", string="Log")["href"] == f"/v1{url}/logs"


def test_a_trial_names_the_jobs_that_go_on_with_it(own_read, own_house):
    search = own_house.search
    onward = rows.run(own_house.db, name="longer", parent=search, trial=f"{search}/t-00001")
    rows.run(own_house.db, name="of-another", parent=search, trial=f"{search}/t-00003")
    page = own_read(f"/searches/{search}/trials/t-00001")
    assert page.find("a", string="longer")["href"] == f"/runs/{onward}" and "of-another" not in page.text
    assert "of t-00003" in own_read(f"/searches/{search}").text


def test_a_clone_says_whose_state_it_took_and_what_it_was_drawn_with(read, house):
    page = read(f"/searches/{house.by_name['population']}/trials/t-00003")
    assert "it took over t-00001's state of step 100" in page.text and "as it was drawn" in page.text


# -- in a browser


@pytest.mark.system
def test_brushes_by_keys_and_by_pointer_filter_lines_and_table_alike(browse, house):
    page = browse(f"/searches/{house.search}")
    shown = "document.querySelectorAll('#trials tr:not([hidden])').length"
    page.wait_for_selector(".handle")
    least = page.get_by_role("slider", name="optimizers.G.lr, at most")
    least.focus()
    for _ in range(3):
        page.keyboard.press("PageDown")
    kept = page.evaluate(shown)
    assert 0 < kept < 12 and page.evaluate("document.querySelectorAll('polyline:not(.out)').length") == kept
    assert page.text_content("#brush-count") == f"{kept} of 12 trials"
    rates = page.evaluate(
        "[...document.querySelectorAll('#trials tr:not([hidden])')].map((row) => Number(row.cells[5].textContent))"
    )
    assert max(rates) <= 10 ** (-2 - 3 * 0.3) * 1.01 and least.get_attribute("aria-valuetext") == "0.001259"
    page.evaluate("document.dispatchEvent(new CustomEvent('agon:fresh'))")
    assert page.evaluate(shown) == kept, "what is told meanwhile takes no brush away"
    page.keyboard.press("Escape")
    assert page.evaluate(shown) == 12
    axis = page.locator(".axis .hit").nth(1).bounding_box()
    x = axis["x"] + axis["width"] / 2
    page.mouse.move(x, axis["y"] + 60)
    page.mouse.down()
    page.mouse.move(x, axis["y"] + 180, steps=4)
    page.mouse.up()
    assert 0 < page.evaluate(shown) < 12
    page.click("#brush-clear")
    assert page.evaluate(shown) == 12


@pytest.mark.system
def test_the_slider_shows_grids_at_other_images_and_curves_are_drawn(browse, house):
    page = browse(f"/searches/{house.search}")
    page.locator("#scores").scroll_into_view_if_needed()
    page.wait_for_selector("#scores canvas")
    page.focus("#images")
    page.keyboard.press("Home")
    page.locator("#sheet img[src*='/100?']").nth(4).wait_for()
    assert "images=0" in page.url


@pytest.mark.system
@pytest.mark.long
@pytest.mark.parametrize("look", [LIGHT, DARK, PHONE])
def test_searches_and_trials_are_accessible(browse, house, look):
    for path in (
        "/searches",
        f"/searches/{house.search}",
        f"/searches/{house.by_name['population']}",
        f"/searches/{house.search}/trials/t-00001",
    ):
        page = browse(path, look)
        check_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.system
def test_a_trial_is_told_without_moving_what_one_looks_at(browse, own_house):
    from furnished import opened

    with opened(own_house):
        page = browse(f"/searches/{own_house.search}", house=own_house)
        first = page.evaluate("document.querySelector('#trials tr').id")
        with own_house.db.begin() as session:
            job = session.query(Job).filter(Job.id == own_house.search).one()
            row = session.query(Trial).filter(Trial.job_number == job.number, Trial.number == 11).one()
            row.record = {**row.record, "results": [{**row.record["results"][-1], "score": 1.0}]}
            row.score = 1.0
            record = TrialRecord.model_validate({**row.record, "id": "t-00012", "number": 12})
            session.add(Trial(job_number=job.number, number=12, id="t-00012", state=TrialState.PENDING, score=None, images=0,
                              record=record.model_dump(mode="json"), stop=False))  # fmt: skip
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.locator("#row-t-00011", has_text="best").wait_for()
        assert page.evaluate("document.querySelector('#trials tr').id") == first, "rows stay where they are"
        assert "1 new trial" in page.text_content("#news")
        page.click("form[action$='/t-00011/stop'] button")
        page.click("dialog button[value=yes]")
        page.locator("#row-t-00011", has_text="stopping").wait_for()
        page.close()
