"""Answers of a replica, without Ray: each is what `Generator` gives, whoever else asked."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from asking import Replica, file_of, named, near

from trainer.images import grid
from trainer.publish.controls import traversal
from trainer.publish.sheets import paired
from trainer.serve.questions import Form
from trainer.serve.wire import SEARCHED_HEADER, VERSION_HEADER


@pytest.mark.parametrize(
    ("question", "sampled"),
    [
        ({"n": 5, "seed": 3}, {"n": 5, "seed": 3}),
        ({"labels": [1, "2", 9], "start": 7}, {"labels": [1, "2", 9], "start": 7}),
        ({"labels": 4, "n": 3, "truncation": 0.5}, {"labels": 4, "n": 3, "truncation": 0.5}),
        ({"labels": "balanced"}, {"labels": "balanced"}),
        ({}, {"n": 1}),
    ],
)
def test_samples_are_those_of_the_package(dcgan, question, sampled):
    said = Replica(dcgan).asked("generate", {**question, "form": "npz"})
    assert (said.status, said.headers["content-type"]) == (200, "application/x-npz")
    assert said.headers[VERSION_HEADER] == "m/1"
    near(said.arrays["images"], dcgan.generator.sample(**sampled))
    z = dcgan.generator.latents(
        len(said.arrays["z"]), sampled.get("seed", 0), sampled.get("truncation"), sampled.get("start", 0)
    )
    np.testing.assert_array_equal(said.arrays["z"], z)
    assert len(said.arrays["labels"]) == len(z)


def test_codes_are_set(infogan):
    said = Replica(infogan).asked("generate", {"codes": {"c1": [3, 4, 5], "c3": 0.5}, "form": "npz"})
    near(said.arrays["images"], infogan.generator.sample(codes={"c1": [3, 4, 5], "c3": 0.5}))


@pytest.mark.parametrize("chosen", [{}, {"labels": 4}, {"labels": [1, 2, 3], "truncation": 0.5}])
def test_of_several_seeds_each_gives_its_first_image(dcgan, chosen):
    said = Replica(dcgan).asked("generate", {"seeds": [7, 0, 9], "form": "npz", **chosen}).arrays
    labels = chosen.get("labels")
    each = labels if isinstance(labels, list) else [labels] * 3
    one = [
        dcgan.generator.sample(1, seed=seed, labels=label, truncation=chosen.get("truncation"))
        for seed, label in zip([7, 0, 9], each, strict=True)
    ]
    near(said["images"], np.concatenate(one))


def test_codes_are_set_for_several_seeds(infogan):
    said = Replica(infogan).asked("generate", {"seeds": [7, 8], "codes": {"c1": 3}, "form": "npz"}).arrays
    one = [infogan.generator.sample(1, seed=seed, codes={"c1": 3}) for seed in (7, 8)]
    near(said["images"], np.concatenate(one))


@pytest.mark.parametrize("form", list(Form))
def test_each_form_has_its_type_and_the_same_question_the_same_bytes_in_any_company(dcgan, form):
    kind = "path" if form in (Form.GIF, Form.MP4) else "generate"
    question = {"form": form, **({"seeds": [1, 2], "frames": 4} if kind == "path" else {"n": 5, "seed": 8})}

    async def scenario():
        replica = Replica(dcgan)
        alone = await replica.ask(kind, question)
        crowd = [replica.ask("generate", {"n": n, "seed": n}) for n in (1, 7, 90)]
        _, _, _, again = await asyncio.gather(*crowd, replica.ask(kind, question))
        return alone, again

    alone, again = asyncio.run(scenario())
    assert alone.body == again.body
    if form is Form.MP4 and alone.status != 200:  # no encoder here
        assert alone.fields == ["form"]
    else:
        assert (alone.status, alone.headers["content-type"]) == (200, form.media_type)


def test_mixed_requests_of_two_models_each_get_their_own(dcgan, gan):
    """Whatever is joined: which model, which labels, which seed is told by the bytes that each of them gets alone."""
    questions = [("m", {"n": 1 + i % 4, "seed": i, "labels": i % 10, "form": "npz"}) for i in range(12)]
    questions += [("other", {"n": 1 + i % 3, "seed": i, "form": "npz"}) for i in range(12)]
    other = named(gan, "other")

    async def scenario():
        replica = Replica(dcgan, other)
        return await asyncio.gather(*(replica.ask("generate", question, name) for name, question in questions))

    for (name, question), said in zip(questions, asyncio.run(scenario()), strict=True):
        sampled = {key: value for key, value in question.items() if key != "form"}
        near(said.arrays["images"], (dcgan if name == "m" else other).generator.sample(**sampled))
        assert said.headers[VERSION_HEADER] == f"{name}/1"


def test_a_path_goes_from_seed_to_seed_with_the_first_ones_label(dcgan):
    question = {"seeds": [5, 6, 7], "frames": 4, "form": "npz"}
    said = Replica(dcgan).asked("path", question)
    z, generator = said.arrays["z"], dcgan.generator
    assert len(z) == 8
    for place, seed in ((0, 5), (3, 6), (4, 6), (7, 7)):
        np.testing.assert_array_equal(z[place], generator.latents(1, seed)[0])
    assert set(said.arrays["labels"]) == {generator.labels(1, 5)[0]}
    near(said.arrays["images"], generator.decode(z, said.arrays["labels"]))
    named = Replica(dcgan).asked("path", {**question, "label": "3"})
    assert set(named.arrays["labels"]) == {3}


def test_what_moves_shows_no_frame_twice(dcgan):
    replica = Replica(dcgan)
    legs = {"seeds": [5, 6, 7], "frames": 4}
    assert replica.asked("path", {**legs, "form": "webp"}).picture.n_frames == 7
    assert replica.asked("path", {**legs, "form": "webp", "loop": True}).picture.n_frames == 9


def test_on_a_path_codes_stay_the_first_stops_and_the_noise_moves(infogan):
    z = Replica(infogan).asked("path", {"seeds": [1, 2], "frames": 5, "form": "npz"}).arrays["z"]
    first, last = infogan.generator.latents(1, 1)[0], infogan.generator.latents(1, 2)[0]
    np.testing.assert_array_equal(z[:, 5:], np.broadcast_to(first[5:], (5, len(first) - 5)))
    np.testing.assert_array_equal(z[[0, -1], :5], [first[:5], last[:5]])


def test_a_uniform_prior_is_crossed_straight(gan):
    z = Replica(gan).asked("path", {"seeds": [1, 2], "frames": 3, "form": "npz"}).arrays["z"]
    np.testing.assert_allclose(z[1], (z[0] + z[2]) / 2, atol=1e-6)


def test_a_path_goes_through_encoded_images(bigan):
    images = bigan.generator.sample(2)
    asked = {"images": [file_of(image) for image in images], "frames": 3, "form": "npz"}
    z = Replica(bigan).asked("path", asked).arrays["z"]
    np.testing.assert_allclose(z[[0, -1]], bigan.generator.encode(images), rtol=1e-4, atol=1e-5)


def test_a_traversal_varies_one_code_along_each_row_of_another_noise(infogan):
    said = Replica(infogan).asked("traverse", {"code": "c1", "rows": 3, "seed": 4, "form": "npz"})
    generator, values = infogan.generator, traversal(infogan.config["codes"][0]).values
    z = generator.with_codes(np.repeat(generator.latents(3, 4), len(values), axis=0), {"c1": np.tile(values, 3)})
    np.testing.assert_array_equal(said.arrays["z"], z)
    near(said.arrays["images"], generator.decode(z))
    moving = Replica(infogan).asked("traverse", {"code": "c1", "rows": 3, "form": "webp"})
    assert moving.picture.n_frames == len(values)


@pytest.mark.parametrize(
    ("asked", "values"),
    [
        ({"code": "c3", "low": -1, "high": 1, "steps": 3}, [-1, 0, 1]),
        ({"code": "c1", "low": 2, "high": 4}, [2, 3, 4]),
        ({"code": "c1", "steps": 4}, [0, 3, 6, 9]),
    ],
)
def test_the_values_of_a_code_go_from_low_to_high_in_steps(infogan, asked, values):
    z = Replica(infogan).asked("traverse", {**asked, "rows": 1, "form": "npz"}).arrays["z"]
    generator = infogan.generator
    expected = generator.with_codes(np.repeat(generator.latents(1), len(values), axis=0), {asked["code"]: values})
    np.testing.assert_allclose(z, expected)


def test_a_direction_is_gone_along_by_its_unit_vector(gan):
    width = gan.config["width"]
    asked = {"direction": [3.0, 4.0, *[0.0] * (width - 2)], "low": -1, "high": 1, "steps": 3, "rows": 2}
    z = Replica(gan).asked("traverse", {**asked, "form": "npz"}).arrays["z"]
    step = np.array([0.6, 0.8, *[0.0] * (width - 2)])
    base = gan.generator.latents(2)
    np.testing.assert_allclose(z, np.concatenate([[b - step, b, b + step] for b in base]), atol=1e-6)


def test_a_seed_is_a_direction_that_leaves_codes_as_they_are(infogan):
    asked = {"toward": 5, "low": -1, "high": 1, "steps": 3, "rows": 1, "form": "npz"}
    z = Replica(infogan).asked("traverse", asked).arrays["z"]
    dim, base = infogan.config["latent"]["dim"], infogan.generator.latents(1)[0]
    way = infogan.generator.latents(1, 5)[0][:dim]
    np.testing.assert_allclose(z[2, :dim] - base[:dim], way / np.linalg.norm(way), atol=1e-6)
    np.testing.assert_array_equal(z[:, dim:], [base[dim:]] * 3)


def test_images_are_encoded_and_reconstructed(bigan):
    images = bigan.generator.sample(3)
    files, generator = [file_of(image) for image in images], bigan.generator
    replica = Replica(bigan)
    z = np.array(json.loads(replica.asked("encode", {"images": files}).body)["z"], np.float32)
    np.testing.assert_allclose(z, generator.encode(images), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(replica.asked("encode", {"images": files, "form": "npz"}).arrays["z"], z)
    again = replica.asked("reconstruct", {"images": files, "form": "npz"}).arrays
    near(again["images"], generator.decode(z))
    shown = np.asarray(replica.asked("reconstruct", {"images": files}).picture)
    np.testing.assert_array_equal(shown, grid(*paired(images, again["images"]))[..., 0])


def test_neighbours_of_a_training_image_are_itself_first(conditional, dcgan):
    images, labels = conditional.dataset.images([5, 77])
    files = [file_of(image) for image in images.permute(0, 2, 3, 1).numpy()]
    replica = Replica(dcgan)
    said = replica.asked("neighbours", {"images": files, "k": 3, "form": "json"})
    assert said.status == 200, said.body
    found, total = json.loads(said.body), conditional.dataset.manifest.samples
    assert [query[0] for query in found["neighbours"]] == [
        {"number": number, "distance": 0.0, "label": int(label)} for number, label in zip((5, 77), labels, strict=True)
    ]
    assert (found["searched"], found["of"], said.headers[SEARCHED_HEADER]) == (total, total, f"{total}/{total}")
    assert replica.rooms == 1
    shown = replica.asked("neighbours", {"n": 2, "k": 3})
    assert shown.picture.size == (4 * 66 + 2, 2 * 66 + 2)
    assert replica.rooms == 1  # the data are there
