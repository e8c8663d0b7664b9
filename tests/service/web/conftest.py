"""The page, furnished: as HTML for most tests, and in a real browser for what only a browser does."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from furnished import Furnished, furnish, opened, settings_in
from looks import DARK, LIGHT, LOOKS, PHONE, check_accessible  # noqa: F401 — pages' tests may take them from here, too
from shelf import answering

from service.app import create_app
from service.db.session import Database
from service.gateway.fake_ray import FakeRay
from service.gateway.fake_serve import FakeServe
from service.plans.fake import FakeMake
from service.plans.planner import Planner

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REFUSED = re.compile(r"responded with a status of (403|409|412|422|429|503) ")


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """One for all tests that only look. Nobody changes anything in it."""
    furnished = furnish(settings_in(tmp_path_factory.mktemp("furnished")))
    yield furnished
    furnished.db.close()


@pytest.fixture(scope="session")
def small_house(tmp_path_factory: pytest.TempPathFactory) -> Furnished:
    """One that others are copied from: furnishing takes longer."""
    furnished = furnish(settings_in(tmp_path_factory.mktemp("small") / "home"), grids=4)
    furnished.db.close()
    return furnished


@pytest.fixture
def own_house(small_house: Furnished, tmp_path: Path) -> Iterator[Furnished]:
    """One for a test that changes something."""
    shutil.copytree(small_house.settings.home, tmp_path / "home")
    settings = settings_in(tmp_path / "home")
    db = Database(settings.database_url)
    copy = replace(small_house, settings=settings, db=db, by_name=dict(small_house.by_name))
    copy.ray, copy.registry, copy.serve = FakeRay(cpus=4), deepcopy(small_house.registry), answering(FakeServe())
    yield copy
    db.close()


@dataclass
class Reader:
    """A browser without a screen or scripts."""

    client: TestClient
    house: Furnished

    def __call__(self, path: str, status: int = 200, **headers: str) -> BeautifulSoup:
        """The page."""
        reply = self.client.get(path, headers={"Accept": "text/html", **headers}, follow_redirects=False)
        assert reply.status_code == status, reply.text[:2000]
        return BeautifulSoup(reply.text, "html.parser")

    def as_(self, owner: str, scope: str) -> Reader:
        """The same as somebody else sees it."""
        made = self.client.post("/v1/tokens", json={"name": "reader", "owner": owner, "scope": scope})
        assert made.status_code == 201, made.text
        client = TestClient(self.client.app)
        client.headers["Authorization"] = f"Bearer {made.json()['token']}"
        return Reader(client, self.house)


def _reader(house: Furnished) -> Iterator[Reader]:
    app = create_app(house.settings, house.ray, house.registry, Planner(5.0, FakeMake()), house.serve)
    with TestClient(app) as client:
        client.headers["Authorization"] = f"Bearer {house.token}"
        yield Reader(client, house)


@pytest.fixture(scope="session")
def shared_reader(house: Furnished) -> Iterator[Reader]:
    yield from _reader(house)


@pytest.fixture
def read(shared_reader: Reader) -> Reader:
    """Reads the furnished house as its administrator, and changes nothing."""
    return shared_reader


@pytest.fixture
def own_read(own_house: Furnished) -> Iterator[Reader]:
    """The same of one's own."""
    yield from _reader(own_house)


@pytest.fixture(scope="session")
def served(house: Furnished) -> Iterator[Furnished]:
    """The furnished house, at an address."""
    with opened(house):
        yield house


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser."""
    path = os.environ.get("AGON_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing = "there is no Chromium here; on Debian: apt install chromium, or name one: AGON_BROWSER=/path/to/it"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)  # a laptop may lack it, CI may not
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-component-update", *quiet]
        )
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """(path, look, house, scripts) -> a page of the browser, signed in. Whatever it writes to its console as an error fails the test.

    refused: but that REST refused what the page asked of it, which is what the test is about.
    """
    contexts: list[Any] = []
    wrong: list[str] = []

    def hear(message: Any, refused: bool) -> None:
        if message.type == "error" and not (refused and REFUSED.search(message.text)):
            wrong.append(message.text)

    def open_(
        path: str = "/",
        look: str = LIGHT,
        house: Furnished | None = None,
        *,
        scripts: bool = True,
        wait: str = "load",
        refused: bool = False,
    ) -> Any:
        house = house or request.getfixturevalue("served")
        context = chromium.new_context(base_url=house.url, java_script_enabled=scripts, **LOOKS[look])
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: hear(message, refused))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto("/sign-in?next=" + path.replace("?", "%3F").replace("&", "%26"))
        page.fill("#token", house.token)
        page.click("main button")
        page.wait_for_load_state(wait)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong, wrong
