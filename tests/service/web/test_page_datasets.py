"""Datasets on the page: what their manifests say, what a check found, and who trained on them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from furnished import opened
from looks import DARK, LIGHT, PHONE, check_accessible
from PIL import Image
from sklearn.datasets import load_digits

from service.datasets import replies, store
from service.db.tables import Job
from trainer.data.pack import Options, pack

DIGEST = "f" * 64
FACTS = {
    "resolution": 16, "channels": 1, "classes": ["zero", "<b>one</b>"], "class_counts": [30, 10], "samples": 40, "shards": 2,
    "bytes": 5000, "digest": DIGEST,
}  # fmt: skip


@pytest.fixture
def faces(own_house):
    return store.create(own_house.db, "faces", "/data/faces", FACTS, "ada")


def test_the_list_has_each_with_its_size_and_says_when_there_is_none(own_read, own_house):
    store.remove(own_house.db, "digits-16")
    assert "No datasets are registered yet" in own_read("/datasets").text
    store.create(own_house.db, "faces", "/data/faces", FACTS, "ada")
    row = own_read("/datasets").select_one("tbody tr")
    assert row.a["href"] == "/datasets/faces" and "16 × 16, grey" in row.text and "never" in row.text


def test_one_says_its_facts_its_classes_and_how_to_use_it(own_read, faces):
    page = own_read("/datasets/faces")
    assert DIGEST in page.find("dl").text and "40" in page.find("dl").text
    meters = [(meter["aria-label"], meter["value"], meter["max"]) for meter in page.find_all("meter")]
    assert meters == [("zero", "30", "30"), ("<b>one</b>", "10", "30")]
    assert "data.url=dataset:faces" in page.find(id="use").text
    assert page.find("a", string="Train on it")["href"] == "/submit?dataset=faces"
    form = own_read("/submit?recipe=dcgan-digits&dataset=faces")
    set_ = {path: form.find(attrs={"data-path": path})["value"] for path in ("data.url", "arch.classes")}
    assert set_ == {"data.url": "dataset:faces", "arch.classes": "2"}


def test_who_trained_on_it_is_told_by_its_digest(own_read, own_house, faces):
    assert "None of the newest 500 runs" in own_read("/datasets/faces").text
    with own_house.db.begin() as session:
        job = session.query(Job).filter(Job.id == own_house.long).one()
        job.spec = {**job.spec, "data": {**job.spec["data"], "url": "/data/faces", "digest": DIGEST}}
    assert own_read("/datasets/faces").find("a", href=f"/runs/{own_house.long}")


def test_what_a_check_found_is_told(own_read, own_house, faces):
    faults = [{"shard": "a-000.tar", "message": "has 3 bytes, not 4"}]
    report = {"ok": False, "checked_at": "2026-12-01T04:00:00Z", "shards": 2, "bytes": 5000, "faults": faults}
    store.save_check(own_house.db, "faces", report)
    page = own_read("/datasets/faces")
    assert "not what its manifest says" in page.find(class_="wrong").text and "has 3 bytes, not 4" in page.text
    assert "damaged" in own_read("/datasets").text


def test_who_may_not_change_it_sees_no_control(own_read, faces):
    actions = {form["action"] for form in own_read("/datasets/faces").select("form[data-act]")}
    assert actions == {"/v1/datasets/faces/check", "/v1/datasets/faces"}
    of_user = own_read.as_("grace", "user")("/datasets/faces").select("form[data-act]")
    assert [form["action"] for form in of_user] == ["/v1/datasets/faces/check"]
    assert own_read.as_("eve", "viewer")("/datasets/faces").select("form[data-act]") == []


@pytest.fixture
def digits(own_house):
    """Real ones, packed."""
    folder = own_house.settings.home / "data" / "digits"
    (packed,) = pack("builtin:digits", folder, Options(shard_size=600_000))
    facts = replies.facts(packed.manifest).model_dump(mode="json")
    return store.create(own_house.db, "real", str(folder), facts, "ada"), folder


def test_each_class_shows_some_of_its_images(own_read, digits):
    page = own_read("/datasets/real")
    rows = page.select("svg.cut")
    assert len(rows) == 10
    assert [row["viewbox"].split() for row in rows[:2]] == [["0", "0", "40", "8"], ["0", "8", "40", "8"]]
    assert {row.image["href"] for row in rows} == {"/datasets/real/images"}, "one picture for all of them"
    reply = own_read.client.get("/datasets/real/images")
    assert reply.headers["content-type"] == "image/webp"
    picture = np.asarray(Image.open(io.BytesIO(reply.content)).convert("L"))
    assert picture.shape == (80, 40)
    source = load_digits()
    for label in range(10):
        for tile in np.split(picture[8 * label : 8 * label + 8], 5, axis=1):
            far = np.abs(source.images * 255 / 16 - tile).max(axis=(1, 2))
            assert source.target[far.argmin()] == label and far.min() < 2
    known = {"If-None-Match": reply.headers["etag"]}
    assert own_read.client.get("/datasets/real/images", headers=known).status_code == 304


def test_images_that_cannot_be_read_or_are_others_are_told(own_read, own_house, digits, faces):
    row, folder = digits
    first = sorted(folder.glob("*.tar"))[0]
    first.unlink()
    refused = own_read.client.get("/datasets/real/images")
    assert refused.status_code == 422 and first.name in refused.json()["errors"][0]["message"]
    assert own_read.client.get("/datasets/faces/images").status_code == 422, "nothing lies there"
    store.create(own_house.db, "other", str(folder), {**row.manifest, "digest": "0" * 64}, "ada")
    other = own_read.client.get("/datasets/other/images")
    assert "other data than were registered" in other.json()["errors"][0]["message"]


def test_one_that_there_is_not_is_not_found(read):
    read("/datasets/none", 404)
    read("/datasets/none/images", 404)
    read("/datasets/N%20N", 422)
    read("/datasets?cursor=x", 422)


@pytest.mark.system
@pytest.mark.long
@pytest.mark.parametrize("look", [LIGHT, DARK, PHONE])
def test_datasets_are_accessible(browse, own_house, digits, look):
    with opened(own_house):
        page = browse("/datasets", look, own_house)
        check_accessible(page)
        page.goto("/datasets/real")
        check_accessible(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()
