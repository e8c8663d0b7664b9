"""The page is whole: it opens offline, says everything in words too, and runs nothing that a name brings along."""

from __future__ import annotations

import os
import re
from dataclasses import replace

import numpy as np
import pytest
from report_doubles import SECTION, Page, broken

from trainer.report.build import write_report
from trainer.report.history import Curve, History
from trainer.report.sections import SECTIONS

EVIL = '<script>alert("x")</script>'


def curve(*values: float) -> Curve:
    return Curve(tuple(range(1, len(values) + 1)), tuple(64 * i for i in range(1, len(values) + 1)), values)


@pytest.fixture(scope="module")
def full(conditional, tmp_path_factory):
    """A page with every section that a class-conditional model can have, and hostile names."""
    history = History(
        metrics={"D/loss": curve(1.0, 0.9, 0.8), EVIL: curve(1.0, 2.0)},
        scores={"fid": curve(9.0, 5.0)},
        source="the events",
    )
    subject = replace(
        conditional,
        name=f"digits {EVIL}",
        class_names=tuple(f"{EVIL}{label}" for label in range(10)),
        history=history,
        facts={"job": EVIL},
    )
    path = write_report(subject, tmp_path_factory.mktemp("page"))
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_loads_nothing(full):
    page = Page(full)
    assert page.loads()
    assert all(url.startswith(("data:image/", "#")) for url in page.loads()), page.loads()
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    assert "@import" not in full


def test_every_section_of_the_table_is_on_it_or_named_with_the_reason(full):
    page = Page(full)
    shown = {attributes["id"] for attributes in page.all("section")} - {"absent"}
    text = "".join(page.text)
    assert shown == {section.id for section in SECTIONS} - {"codes", "reconstructions", "timeline"}
    for absent in ("codes", "reconstructions", "timeline"):
        assert SECTION[absent].title in text
    for section in SECTIONS:
        if section.id in shown:
            assert section.reading in text


def test_hostile_names_are_text(full):
    assert "<script" not in full
    assert EVIL in "".join(Page(full).text)
    assert full.count("&lt;script&gt;") > 10


def test_what_is_drawn_is_said_and_ids_are_unique(full):
    page = Page(full)
    assert all(image["alt"] for image in page.all("img"))
    drawings = page.all("svg")
    assert drawings
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_curves_take_their_colours_from_the_page(full):
    drawings = re.findall(r"<svg.*?</svg>", full, re.DOTALL)
    used = {colour for svg in drawings for colour in re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg)}
    assert {"var(--ink)", "var(--line)", "var(--s1)"} <= used
    assert all(colour == "none" or colour.startswith(("var(--", "url(")) for colour in used), used
    assert "prefers-color-scheme: dark" in full
    assert "width=device-width" in full


def test_a_section_that_fails_leaves_the_others(conditional, tmp_path):
    sections = (SECTION["samples"], broken(f"no such thing {EVIL}"), SECTION["about"])
    page = Page(write_report(conditional, tmp_path, sections).read_text())
    assert [attributes["id"] for attributes in page.all("section")] == ["samples", "about", "absent"]
    assert f"it failed (RuntimeError: no such thing {EVIL})." in "".join(page.text)


def test_a_report_replaces_the_old_one_whole(conditional, tmp_path, monkeypatch):
    path = write_report(conditional, tmp_path, (SECTION["about"],))
    before = path.read_text()

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", no_space)
    with pytest.raises(OSError, match="space"):
        write_report(conditional, tmp_path, (SECTION["samples"],))
    assert path.read_text() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_large_images_are_compressed(conditional, tmp_path):
    from trainer.report.pictures import strip

    noise = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3), dtype=np.uint8)
    picture = strip(noise, "noise")
    assert picture.uri.startswith("data:image/webp;base64,")
    assert len(picture.uri) < noise.nbytes
    assert strip(noise[:, :64, :64], "noise").uri.startswith("data:image/png;base64,")
