"""Models on the page: what is shown of them, and the explorer, which asks the same with and without scripts."""

from __future__ import annotations

import io
from urllib.parse import parse_qs, urlsplit

import pytest
from furnished import opened
from looks import DARK, LIGHT, PHONE, check_accessible
from PIL import Image
from playwright.sync_api import expect

from service.gateway.ray_serve import Answer
from service.web.models import card, explorer
from service.web.models.explorer import Asked
from service.web.models.explorer import read as read_state
from trainer.serve.questions import Generate, Path, Traverse
from trainer.serve.wire import Reason, Refusal

MODEL = "/models/digits"
DRAWN = "#stage[aria-busy=false] .drawn"


def png(size):
    out = io.BytesIO()
    Image.new("L", (size, size)).save(out, "PNG")
    return out.getvalue()


def pictures(page):
    """What a browser without scripts asks for: the picture, and the seeds to choose from."""
    return [image["src"] for image in page.select("noscript img")]


def test_the_shelf_has_every_model_with_its_champion_and_a_picture(read):
    page = read("/models")
    names = [item.h2.text for item in page.select(".shelf li")]
    assert names == ["a-model-of-another-publisher-with-a-name-as-long-as-it-may-be", "coded", "digits"]
    assert "The champion is version 3" in page.select(".shelf li")[2].text
    assert "No champion" in page.select(".shelf li")[1].text


def test_a_model_says_why_it_has_its_champion_what_it_scores_and_where_it_comes_from(read, house):
    page = read(MODEL)
    best = page.find("section", attrs={"aria-labelledby": "best"})
    assert best.h2.text == "The champion: version 3"
    assert "18.9" in best.text and "its fid of 18.9 is below that of the one before" in best.text
    assert best.find("a", href=f"/runs/{house.long}").text == "digits-long"
    assert "10 classes; truncation" in best.text
    numbers = [row.th.contents[0].strip() for row in page.select("table tbody tr")[:4]]
    assert numbers == ["4", "3", "2", "1"]
    champions = [item["value"] for item in page.select(".history li")]
    assert champions == ["3", "2", "1"]


def test_every_way_to_have_it_can_be_copied(read):
    page = read(MODEL)
    texts = [pre.text for pre in page.select(".snippet pre")]
    wanted = ("agon pull digits@champion", "models:/digits@champion", "torch.export.load", "/v1/models/digits/generate")
    assert all(words in text for words, text in zip(wanted, texts, strict=True))
    assert '"labels": "balanced"' in texts[1]
    assert {button["data-copy"] for button in page.select("[data-copy]")} == {
        pre["id"] for pre in page.select(".snippet pre")
    }


def test_the_card_is_text_and_nothing_more():
    shown = card.rendered(
        "# t\n\n## A <b>x</b>\n\n| a | b |\n|---|---|\n| `c` | <i> |\n\n```\n<script>\n```\n[l](javascript:x)"
    )
    assert "<h3>A &lt;b&gt;x&lt;/b&gt;</h3>" in shown
    assert "<td><code>c</code></td><td>&lt;i&gt;</td>" in shown
    assert "<script>" not in shown and "href" not in shown and "<h1" not in shown


def test_while_mlflow_is_away_the_page_is_there_and_says_so(own_read, own_house):
    own_house.registry.unreachable = True
    for path in ("/models", MODEL, f"{MODEL}/explore"):
        page = own_read(path)
        assert "can't be reached" in page.find(class_="note").text
    assert own_read(MODEL).select(".snippet pre")
    assert (
        own_read.client.get(f"{MODEL}/picture", follow_redirects=False).headers["location"].endswith("/models/none.svg")
    )


def test_a_model_that_there_is_not_is_not_found(read):
    assert "not found" in read("/models/nobody", 404).text.lower()
    read(f"{MODEL}/explore?of=99", 404)
    read(f"{MODEL}/explore?of=nobody", 404)


def test_a_picture_is_the_newest_grid_of_the_training_or_a_sign(read, house):
    def where(path):
        return read.client.get(path, follow_redirects=False).headers["location"]

    assert where(f"{MODEL}/picture") == f"/v1/jobs/{house.long}/samples"
    assert where(f"{MODEL}/picture?version=1").endswith("/models/none.svg")
    assert where("/models/coded/picture").endswith("/models/none.svg")


def test_an_alias_is_moved_by_who_may(own_read):
    form = own_read(MODEL).select_one("form.alias")
    assert form["action"] == "/v1/models/digits/aliases/{alias}" and form["data-method"] == "PUT"
    assert [option.text for option in form.select("#version option")] == ["4", "3", "2", "1"]
    assert own_read.as_("ada", "user")(MODEL).select_one("form.alias")
    assert own_read.as_("grace", "user")(MODEL).select_one("form.alias") is None, "all are of ada's runs"
    assert own_read.as_("ada", "viewer")(MODEL).select_one("form.alias") is None


def test_the_explorer_offers_what_the_version_takes(read):
    page = read(f"{MODEL}/explore")
    classes = [option.text for option in page.select("#label option")]
    assert classes[:4] == ["as drawn", "one after another", "zero", "one"] and classes[-1] == "<b>nine</b>"
    assert page.find(id="truncation") and not page.select('[name^="code-"]') and not page.find(value="image")
    coded = read("/models/coded/explore")
    assert not coded.find(id="label") and not coded.find(id="truncation")
    assert coded.find("select", id="code-c1") and coded.find("input", id="code-c2") and coded.find(value="image")
    unknown = read("/models/a-model-of-another-publisher-with-a-name-as-long-as-it-may-be/explore")
    assert unknown.find("input", id="label") and unknown.find(id="truncation") and "is not known here" in unknown.text


def test_without_scripts_the_url_is_the_state_and_the_pictures_follow_it(read):
    page = read(f"{MODEL}/explore?seed=5&n=4&label=3&truncation=0.7&turn=64")
    shown, pad = (urlsplit(source) for source in pictures(page))
    assert shown.path == "/v1/models/digits/generate"
    assert parse_qs(shown.query) == {
        "version": ["3"],
        "n": ["4"],
        "seed": ["5"],
        "labels": ["3"],
        "truncation": ["0.7"],
    }
    assert parse_qs(pad.query)["seeds"] == [str(seed) for seed in range(64, 96)]
    assert page.select_one("button[aria-pressed=true]") is None
    assert page.find(id="label").find(selected=True).text == "three"
    assert read(f"{MODEL}/explore?seed=5&pick=7").find(id="seed")["value"] == "7", "a seed that was pressed"
    for source in pictures(page):
        assert read.client.get(source).headers["cache-control"].endswith("immutable")


@pytest.mark.parametrize(
    ("query", "kind", "body", "wire"),
    [
        ({"code-c1": "3", "code-c2": "-0.5", "code-c3": ""}, "generate", {"codes": {"c1": 3.0, "c2": -0.5}}, Generate),
        (
            {"show": "path", "to": "9", "loop": "true", "curve": "lerp", "label": "balanced"},
            "path", {"seeds": [0, 9], "loop": True, "curve": "lerp"}, Path,
        ),
        ({"show": "traverse", "along": "c1"}, "traverse", {"code": "c1"}, Traverse),
        ({"show": "traverse", "toward": "5", "label": "2"}, "traverse", {"toward": 5, "label": 2}, Traverse),
    ],
)  # fmt: skip
def test_a_state_is_a_question_that_models_take(query, kind, body, wire):
    asked, found = read_state(query).asks()
    assert (asked == kind and body.items() <= found.items() and "label" not in found) or "label" in body
    wire.model_validate(found)
    Generate.model_validate(read_state(query).pad_asks())


def test_of_what_is_usual_a_url_need_not_speak():
    usual = explorer.defaults(["c1"])
    assert usual["n"] == "16" and usual["code-c1"] == "" and usual["show"] == "samples" and usual["truncation"] == ""
    assert read_state(usual) == Asked()


@pytest.mark.parametrize(
    "query", ["seed=-1", "seed=x", "n=100000", "show=all", "truncation=nan", "of=1%2F2", "code-c1=x", "pad=1e400"]
)
def test_a_url_that_is_wrong_is_told_by_its_field(read, query):
    page = read(f"{MODEL}/explore?{query}", 422)
    assert page.select("main li code")


@pytest.mark.system
@pytest.mark.parametrize("look", [LIGHT, *(pytest.param(look, marks=pytest.mark.long) for look in (DARK, PHONE))])
def test_models_and_the_explorer_are_accessible(browse, look):
    page = browse("/models", look)
    for path in ("/models", MODEL, f"{MODEL}/explore"):
        page.goto(path)
        if path.endswith("explore"):
            page.wait_for_selector(DRAWN)
        check_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.system
def test_a_person_plays_and_the_url_and_the_back_button_follow(browse, read):
    start = "/models/coded/explore?code-c1=3&seed=2"
    page = browse("/models")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/v1/models" in request.url else None)
    page.goto(start)
    page.wait_for_selector(DRAWN)
    page.wait_for_selector("#pad[aria-busy=false] img.drawn")
    assert {question(url) for url in asked} == {question(source) for source in pictures(read(start))}

    page.locator(".over button").nth(5).press("Tab")
    page.keyboard.press("Enter")  # the seventh seed
    told = page.locator("#told")
    expect(told).to_have_text("seed 6")
    assert "seed=6" in page.url
    assert '"seed":6' in page.text_content("#curl") and 'codes={"c1":3}' in page.text_content("#python")
    page.select_option("#code-c1", "")
    page.wait_for_url(lambda url: "code-c1" not in url)
    page.go_back()
    expect(page.locator("#code-c1")).to_have_value("3")
    page.go_back()
    expect(told).to_have_text("seed 2")
    expect(page.locator("#seed")).to_have_value("2")


def question(url):
    """Of a URL, whatever the order and the writing."""
    parts = urlsplit(url)
    return parts.path, str(sorted(parse_qs(parts.query).items()))


@pytest.mark.system
def test_what_starts_is_waited_for_and_what_is_refused_is_told(browse, own_house):
    answer, tries = own_house.serve.answer, []

    async def late(path, body, headers):
        tries.append(path)
        if len(tries) < 3:
            refusal = Refusal(reason=Reason.AWAY, message="the replica loads", retry_after=1.0)
            return Answer(503, refusal.model_dump_json().encode(), {"content-type": "application/json"})
        return await answer(path, body, headers)

    own_house.serve.answer = late
    with opened(own_house):
        page = browse(f"{MODEL}/explore", house=own_house, refused=True)
        expect(page.locator("#told")).to_have_text("Starting: the replica loads")
        page.wait_for_selector(DRAWN)
        page.fill("#truncation", "1000")
        expect(page.locator("#told")).to_contain_text("truncation: Input should be less than or equal to 100")
        page.close()  # before whom it asks ends


@pytest.mark.system
def test_an_image_of_ones_own_is_encoded_and_what_is_none_is_told(browse, tmp_path):
    page = browse("/models/coded/explore?show=image")
    (tmp_path / "mine.png").write_bytes(png(8))
    page.set_input_files("#file", tmp_path / "mine.png")
    page.wait_for_selector(DRAWN)
    expect(page.locator("#told")).to_contain_text("your images")
    assert page.locator("#saves a").get_attribute("download") == "coded-1.png"


@pytest.mark.system
@pytest.mark.long
def test_an_alias_is_moved_on_the_page_and_snippets_are_copied(browse, own_house):
    with opened(own_house):
        page = browse(MODEL, house=own_house)
        page.fill("#alias", "nightly")
        page.select_option("#version", "1")
        page.click("form.alias button")
        page.wait_for_selector("tbody tr:last-child .label:text('nightly')")
        assert own_house.registry.model("digits").aliases["nightly"] == "1"
        page.click("[data-copy=snippet-1]")
        page.wait_for_selector(".toast")
