"""The shell of all pages: who gets in, what a browser runs, what it keeps, and how a problem is told."""

from __future__ import annotations

import gzip
import posixpath
import re
import time
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from service.figures import short
from service.web import assets
from service.web.assets import FOLDER
from service.web.frame import SECTIONS
from service.web.signin.routes import inside

TEMPLATES = sorted(FOLDER.rglob("*.html"))
HTML = {"Accept": "text/html"}
MOST = 60 * 1024
"""Bytes of scripts and styles that one page makes a browser fetch, zipped."""


@pytest.fixture
def stranger(read):
    """A browser that nobody has signed in with."""
    client = type(read.client)(read.client.app, follow_redirects=False)
    client.headers.update(HTML)
    return client


def test_a_stranger_signs_in_and_comes_to_where_they_wanted(stranger, house):
    asked = stranger.get("/nowhere?state=failed&owner=ada")
    assert asked.status_code == 303
    where = asked.headers["location"]
    assert where == "/sign-in?next=%2Fnowhere%3Fstate%3Dfailed%26owner%3Dada"
    assert stranger.get(where).status_code == 200
    inside_ = stranger.post(where, data={"token": f" {house.token} "})
    assert (inside_.status_code, inside_.headers["location"]) == (303, "/nowhere?state=failed&owner=ada")
    cookie = inside_.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert stranger.get("/nowhere").status_code == 404  # signed in, and told so


def test_a_wrong_token_is_told_at_the_field_and_gives_no_session(stranger):
    reply = stranger.post("/sign-in", data={"token": "agon_wrong"})
    assert reply.status_code == 401 and "set-cookie" not in reply.headers
    page = BeautifulSoup(reply.text, "html.parser")
    assert page.find(id="token")["aria-invalid"] == "true"
    assert "not known here" in page.find(id="wrong").text


def test_signing_out_ends_the_session(stranger, house):
    stranger.post("/sign-in", data={"token": house.token})
    kept = stranger.cookies["agon_session"]
    assert stranger.post("/sign-out", headers={"Sec-Fetch-Site": "same-origin"}).headers["location"] == "/sign-in"
    stranger.cookies.set("agon_session", kept)
    assert stranger.get("/v1/session", headers={"Accept": "*/*"}).status_code == 401


def test_another_site_can_neither_sign_in_nor_out(stranger, house):
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}
    assert stranger.post("/sign-in", data={"token": house.token}, headers=foreign).status_code == 403
    stranger.post("/sign-in", data={"token": house.token})
    assert stranger.post("/sign-out", headers=foreign).status_code == 403


def test_a_link_from_another_site_asks_once_more_with_the_cookie_that_the_browser_kept_back(stranger):
    first = stranger.get("/nowhere", headers={"Sec-Fetch-Site": "cross-site"})
    assert first.status_code == 200 and 'http-equiv="refresh"' in first.text
    assert stranger.get("/nowhere", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303


@pytest.mark.parametrize(
    "where",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "runs",
        "/\t/evil.example",
        "",
    ],
)
def test_signing_in_leads_nowhere_else(where):
    assert inside(where) == "/"


def test_a_problem_is_a_page_for_a_person_and_a_document_for_a_program(read):
    page = read("/nowhere", 404)
    assert page.h1.text == "Not Found" and page.find("a", string="Back to the first page")
    assert read.client.get("/nowhere").headers["content-type"] == "application/problem+json"
    assert read.client.get("/v1/jobs/none", headers=HTML).headers["content-type"] == "application/problem+json"


def test_a_body_that_is_too_long_is_refused_before_it_is_read(stranger):
    assert stranger.post("/sign-in", data={"token": "x" * 2000}).status_code == 413


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_no_template_has_a_script_or_a_style_in_it(template: Path):
    text = template.read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"\s(style|on[a-z]+)\s*=|<style|javascript:", text)
    assert not re.search(r"\|\s*safe\b", text), "what is named by people is escaped"


def test_the_policy_allows_no_inline_script_and_no_other_host(read):
    policy = read.client.get("/nowhere", headers=HTML).headers["content-security-policy"]
    assert "unsafe" not in policy and "http" not in policy and "script-src 'self'" in policy


def test_scripts_and_styles_are_kept_for_good_under_a_path_that_changes_with_them(stranger):
    url = assets.url("shell/app.css")
    reply = stranger.get(url, headers={"Accept": "*/*"})
    assert reply.status_code == 200 and "immutable" in reply.headers["cache-control"]
    assert (
        reply.headers["content-encoding"] == "gzip" and reply.text == assets.assets()["shell/app.css"].content.decode()
    )
    old = stranger.get("/static/0000/shell/app.css", headers={"Accept": "*/*"})
    assert old.status_code == 200 and old.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name", ["../app.py", "shell/layout.html", "%2e%2e/settings.py", "shell/../../settings.py", "vendor/.lock"]
)
def test_nothing_but_scripts_and_styles_is_served(stranger, name):
    assert stranger.get(f"/static/x/{name}", follow_redirects=True).status_code == 404


def loaded(page: BeautifulSoup) -> set[str]:
    """Scripts and styles that a browser fetches for this page, with what they import."""
    asked = [link["href"] for link in page.find_all("link", rel="stylesheet")]
    asked += [script["src"] for script in page.find_all("script", src=True)]
    names, found = [url.split("/", 3)[3] for url in asked], set()
    while names:
        name = names.pop()
        if name in found:
            continue
        found.add(name)
        imported = re.findall(r"(?:from|import)\s*\(?\s*\"(\.[^\"]+)\"", assets.assets()[name].content.decode())
        names += [posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) for path in imported]
    return found


def test_a_page_is_light(read, house):
    paths = [where for _, where in SECTIONS]
    paths += [f"/runs/{house.long}", f"/searches/{house.search}", "/models/digits", "/models/digits/explore"]
    for path in paths:
        reply = read.client.get(path, headers=HTML, follow_redirects=True)
        assert reply.status_code == 200, path
        sizes = {name: len(assets.assets()[name].zipped) for name in loaded(BeautifulSoup(reply.text, "html.parser"))}
        assert {"shell/app.css", "shell/app.js", "shell/live.js", "vendor/idiomorph.js"} <= set(sizes), path
        assert sum(sizes.values()) <= MOST, (path, sizes)
    assert all(gzip.decompress(asset.zipped) == asset.content for asset in assets.assets().values())


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (None, "–"),
        (0, "0"),
        (950, "950"),
        (9999, "9,999"),
        (12_345, "12.3k"),
        (999_949, "1.00M"),
        (1_200_000, "1.20M"),
        (2.5e9, "2.50G"),
    ],
)
def test_how_many_is_told_in_three_digits(count, told):
    assert short(count) == told


@pytest.mark.system
def test_a_person_signs_in_with_and_without_scripts(browse):
    for scripts in (True, False):
        page = browse("/docs", scripts=scripts)
        assert page.url.endswith("/docs")


SHIFT = """
window.shifted = [];
const named = ({ node }) => node?.id || node?.className || node?.nodeName;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shifted.push([one.value, ...one.sources.map(named)]);
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.mark.system
@pytest.mark.parametrize(
    ("look", "path"),
    [
        ("light", "/runs"),
        ("light", "/runs/{long}"),
        *(
            pytest.param("phone", path, marks=pytest.mark.long)
            for path in ("/runs", "/runs/{long}", "/queue", "/searches")
        ),
    ],
)
def test_nothing_moves_while_a_page_is_loaded(browse, house, look, path):
    def late(route):
        time.sleep(0.25)
        route.continue_()

    page = browse("/docs", look)
    page.add_init_script(SHIFT)
    for what in (
        "**/first.js",
        "**/app.js",
        "**/samples/*",
        "**/thumbnail",
        "**/curves*",
    ):  # after the first paint, if that doesn't wait for it
        page.route(what, late)
    page.goto(path.format(long=house.long), wait_until="networkidle")
    shifted = page.evaluate("window.shifted")
    assert sum(value for value, *_ in shifted) < 0.001, shifted
