"""Submitting a job on the page: the form is the schema's, only changes are sent, and REST says what is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from furnished import opened
from looks import DARK, LIGHT, PHONE, check_accessible
from playwright.sync_api import expect

from service.db.tables import Job
from service.gateway.ray_jobs import Node
from service.runs.sight import Watch
from service.web.submit import fields
from trainer.families.table import recipes
from trainer.spec import with_values

FORM = "/submit?recipe=dcgan-digits"


def test_every_recipe_is_listed_with_what_it_trains(read):
    page = read("/submit")
    rows = {row.th.text: row.find_all("td")[1].text for row in page.select("tbody tr")}
    assert set(rows) == set(recipes()) and all(rows.values())
    assert page.find("a", string="wgan-gp")["href"] == "?recipe=wgan-gp"


def test_the_form_has_the_recipes_values_with_the_schemas_words_and_the_spec_for_who_has_no_scripts(read):
    page = read(FORM)
    batch = page.find(attrs={"data-path": "train.batch"})
    assert batch["value"] == batch["data-was"] == str(recipes()["dcgan-digits"]().train.batch)
    assert "Global batch over all workers" in page.find(id=batch["aria-describedby"]).text
    assert json.loads(page.find("form", id="submit")["data-base"]) == {"recipe": "dcgan-digits"}
    assert "family: dcgan" in page.select("details.card pre")[-1].text
    assert "agon submit dcgan-digits" in page.noscript.text


@pytest.mark.parametrize("recipe", recipes())
def test_every_value_of_every_recipe_has_a_field_that_says_it_as_it_is(recipe):
    spec = recipes()[recipe]()
    found = [one for section in fields.sections(spec.model_dump(mode="json"), {}) for one in section.inputs]
    paths = [one.path for one in found]
    assert len(paths) == len(set(paths))
    changes = [
        (one.path, None if one.was == "" and one.optional else one.was)
        for one in found
        if getattr(spec, one.path.partition(".")[0], None) is not None
        and not one.path.startswith(("objective.d_warmup.", "evaluation.extractor."))
    ]
    assert with_values(spec, changes) == spec


def test_a_fork_goes_on_with_a_checkpoint_of_a_run(read, house):
    page = read(f"/submit?from={house.long}&step=400&mode=weights")
    assert page.h1.text == "Fork digits-long"
    base = json.loads(page.find("form", id="submit")["data-base"])
    assert base == {"from": {"job": house.long, "checkpoint": 400, "mode": "weights"}}
    assert f"agon fork {house.long} --at 400 --weights" in page.find(id="command").text


def test_a_viewer_may_look_and_not_submit(read):
    page = read.as_("grace", "viewer")(FORM)
    assert not page.find("form", id="submit") and "role user" in page.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("recipe=none", 422),
        ("from=j-none", 404),
        ("from=..%2F", 422),
        ("recipe=dcgan&dataset=none", 404),
        (f"recipe={'x' * 200}", 422),
        ("from=j-0&step=x", 422),
    ],
)
def test_what_there_is_not_is_told(read, query, status):
    assert read(f"/submit?{query}", status).h1


@pytest.mark.system
@pytest.mark.parametrize("look", [LIGHT, *(pytest.param(look, marks=pytest.mark.long) for look in (DARK, PHONE))])
def test_the_form_is_accessible(browse, look):
    page = browse("/submit", look)
    page.goto(FORM)
    expect(page.locator("#verdict")).to_have_text("It fits.")
    check_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.system
def test_what_is_wrong_is_told_at_its_field_and_what_is_right_is_planned_and_submitted_once(browse, own_house):
    Watch(own_house.db).see([Node("n", 4, 4)], datetime.now(UTC))
    with opened(own_house):
        page = browse("/submit", house=own_house, refused=True)
        page.goto(FORM)
        verdict, images = page.locator("#verdict"), page.locator("[data-path='train.images']")
        expect(verdict).to_have_text("It fits.")
        images.fill("-5")
        expect(images).to_have_attribute("aria-invalid", "true")
        assert "greater than or equal to 1" in page.locator(".field", has=images).locator("[data-wrong]").inner_text()
        expect(page.locator("#starts")).to_be_empty()
        images.fill("5000")
        expect(page.locator("#starts dd").first).to_contain_text("as number 3 in line")
        page.locator("[data-path='resources.workers']").fill("8")
        expect(page.locator("#starts")).to_have_text("startsnever: the cluster has no nodes that hold it")
        page.locator("[data-path='resources.workers']").fill("2")
        expect(verdict).to_have_text("It fits.")
        expect(page.locator("#command")).to_have_text("agon submit dcgan-digits \\\n  --set train.images=5000")
        page.click("#submit button.main")
        page.wait_for_url("**/runs/j-*")
        job = page.url.rpartition("/")[2]
        page.close()
    with own_house.db.read() as session:
        (row,) = session.query(Job).filter(Job.id == job)
        assert row.spec["train"]["images"] == 5000
