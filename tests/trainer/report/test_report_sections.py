"""Each section shows what it says, or says why it shows nothing."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_doubles import Lookup, made, why_not
from scipy.spatial import geometric_slerp

from trainer.errors import BadDataError
from trainer.evaluate.accumulate import Features
from trainer.evaluate.moments import Moments
from trainer.evaluate.references import real_indices
from trainer.evaluate.scores import score
from trainer.evaluate.truncation import saturation
from trainer.families.arch import CodedLatent
from trainer.images import GridFacts, grid, save_png
from trainer.report import charts
from trainer.report.errors import LeftOut
from trainer.report.history import Curve, History
from trainer.report.sections.curves import wants_log
from trainer.report.sections.latent import lerp, slerp
from trainer.report.sections.memory import pixels, search
from trainer.report.sections.timeline import chosen
from trainer.report.sections.truncation import measure
from trainer.report.subject import QUICK, Effort, Subject


def opened(picture) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2])))


class Recorded:
    """A model whose decoded latents are kept."""

    def __init__(self, model):
        self.model, self.decoded = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def decode(self, z, labels=None):
        self.decoded.append((z.copy(), labels))
        return self.model.decode(z, labels)


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["dcgan-digits", "gan-digits", "infogan-digits", "vae-digits"])
def test_samples_have_a_row_for_each_class_and_a_text_for_who_cannot_see_them(subjects, recipe):
    subject = subjects(recipe)
    sheet, real = made("samples", subject)
    assert [row.label for row in real.rows] == [row.label for row in sheet.rows]
    assert len(sheet.rows) == (subject.arch.classes or 1)
    assert all("generated images" in row.picture.alt for row in sheet.rows)
    image = opened(sheet.rows[0].picture)
    assert image.size == (sheet.rows[0].picture.width, sheet.rows[0].picture.height)
    assert image.mode == "LA"
    assert image.getpixel((0, 0))[1] == 0, "gaps are transparent, for dark pages"
    assert image.getpixel((3, 3))[1] == 255


def test_many_classes_are_sampled_evenly(conditional):
    class Thousand:
        def sample(self, labels=None, seed=0, **_):
            self.labels = labels
            return np.zeros((len(labels), 8, 8, 1), np.uint8)

    model = Thousand()
    spec = conditional.spec.model_copy(update={"arch": conditional.arch.replace(classes=1000)})
    many = replace(conditional, spec=spec, model=model)
    sheet, _ = made("samples", many)
    assert len(sheet.rows) == 20
    assert {0, 999} <= set(model.labels)
    assert "20 of 1000 classes" in sheet.caption


def test_beside_each_class_lie_real_images_of_it(conditional):
    _, real = made("samples", conditional)
    everything, labels = conditional.dataset.images(np.arange(conditional.dataset.manifest.samples))
    of_class = {label: {image.tobytes() for image in everything[labels == label].numpy()} for label in range(10)}
    for label, row in enumerate(real.rows):
        pixels = np.asarray(opened(row.picture))
        cells = [pixels[2:66:8, 2 + 66 * column : 66 + 66 * column : 8, 0] for column in range(10)]
        assert all(cell.tobytes() in of_class[label] for cell in cells)
        assert len({cell.tobytes() for cell in cells}) == 10, "different ones"


def test_a_class_with_fewer_real_images_keeps_its_place_and_samples_are_shown_without_data(conditional):
    class Few:
        manifest = conditional.dataset.manifest

        def images(self, indices):
            pixels, labels = conditional.dataset.images(indices)
            return pixels, torch.where(labels == 3, 4, labels)

    sheet, real = made("samples", replace(conditional, dataset=Few()))
    assert len({row.picture.width for row in real.rows}) == 1
    assert real.rows[3].note.startswith("none among")
    (alone,) = made("samples", replace(conditional, dataset=None, missing="the data are gone"))
    assert alone.rows == sheet.rows
    assert "the data are gone" in alone.caption

    class Damaged(Few):
        def images(self, indices):
            raise BadDataError("shard-00003.tar is truncated")

    (shown,) = made("samples", replace(conditional, dataset=Damaged()))
    assert shown.rows == sheet.rows
    assert "shard-00003.tar is truncated" in shown.caption


def grids(folder, steps, *, columns=10, count=100):
    """Kept grids: image number i of step s is all of grey value (s + i) % 251."""
    for step in steps:
        values = (step + np.arange(count)) % 251
        images = np.broadcast_to(values[:, None, None, None], (count, 8, 8, 1)).astype(np.uint8)
        facts = GridFacts.of(images, columns, step, 64 * step)
        save_png(folder / f"step-{step:09d}.png", grid(images, columns), facts)
    return folder


def test_the_timeline_shows_the_same_latents_of_every_row_of_the_kept_grids(conditional, tmp_path):
    subject = replace(conditional, grids=grids(tmp_path, range(100, 2100, 100)))
    (sheet,) = made("timeline", subject)
    assert [row.label for row in (sheet.rows[0], sheet.rows[-1])] == ["6,400 images", "128,000 images"]
    assert len(sheet.rows) == 8
    assert "8 of the 20 grids" in sheet.caption
    pixels = np.asarray(opened(sheet.rows[0].picture))[32, 32::66, 0]
    assert pixels.tolist() == [(100 + 10 * row) % 251 for row in range(10)], "the first image of each class"


def test_the_timeline_takes_the_grids_that_were_scored_and_says_their_scores(conditional, tmp_path):
    scored = Curve((600, 1200), (38_400, 76_800), (30.0, 12.5))
    subject = replace(
        conditional, grids=grids(tmp_path, range(100, 2100, 100)), history=History(scores={"fid": scored})
    )
    (sheet,) = made("timeline", subject)
    assert {row.note for row in sheet.rows} == {"", "fid 30", "fid 12.5"}


def test_the_timeline_is_left_out_without_grids_and_passes_over_damaged_ones(conditional, tmp_path):
    assert "job's own page" in why_not("timeline", conditional)
    assert "fewer than two" in why_not("timeline", replace(conditional, grids=tmp_path / "none"))
    grids(tmp_path, [100, 200, 300])
    (tmp_path / "step-000000200.png").write_bytes(b"no picture")
    (sheet,) = made("timeline", replace(conditional, grids=tmp_path))
    assert [row.label for row in sheet.rows] == ["6,400 images", "19,200 images"]


@given(
    st.lists(st.integers(1, 10_000), unique=True, min_size=1, max_size=60).map(sorted), st.sets(st.integers(1, 10_000))
)
@settings(deadline=None)
def test_first_and_last_grid_are_always_chosen_and_never_more_than_eight(steps, scored):
    found = chosen(steps, scored)
    assert (found[0], found[-1]) == (steps[0], steps[-1])
    assert found == sorted(set(found))
    assert set(found) <= set(steps)
    assert len(found) == min(8, len(steps))


def test_a_dropped_class_is_named(known_model):
    class NoSevens(Lookup):
        def sample(self, n=None, **options):
            return self.images[np.flatnonzero(self.labels != 7)[: n or 1]]

    model = NoSevens(known_model.dataset, 8)
    (block,) = made("classes", replace(known_model, model=model))
    assert "Not one image of: 7." in block.caption


def test_obeyed_labels_are_counted_against_the_asked_ones(conditional):
    class Obeys(Lookup):
        def sample(self, n=None, labels=None, **_):
            shown = labels if labels is not None else [0] * n
            return self.images[[self.first[0 if label == 3 else label] for label in shown]]

    text, _ = made("classes", replace(conditional, model=Obeys(conditional.dataset, 8)))
    assert "reads 90.0% as the class" in text.text
    assert "least of class 3: 0.0%" in text.text


def test_where_there_are_more_classes_than_samples_only_those_asked_for_are_judged(conditional):
    class Obeys(Lookup):
        def sample(self, n=None, labels=None, **_):
            return self.images[[self.first[label] for label in (labels if labels is not None else [0] * n)]]

    few = replace(conditional, model=Obeys(conditional.dataset, 8), effort=Effort(3600.0, 5))
    text, charted = made("classes", few)
    assert "Of 5 generated images of 5 of 10 classes the classifier reads 100.0%" in text.text
    assert "nan" not in text.text + charted.charts[0].svg


def test_slerp_is_scipys_on_unit_vectors():
    rng, times = np.random.default_rng(0), np.linspace(0, 1, 9)
    a, b = rng.standard_normal((2, 12))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    np.testing.assert_allclose(slerp(a, b, times), geometric_slerp(a, b, times), atol=1e-6)


def test_slerp_begins_and_ends_where_it_should_and_survives_parallel_vectors():
    a, b, times = np.float32([3, 0, 1]), np.float32([0, 2, 1]), np.linspace(0, 1, 5)
    path = slerp(a, b, times)
    np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-6)
    np.testing.assert_allclose(slerp(a, 2 * a, times), lerp(a, 2 * a, times), atol=1e-6)
    assert np.isfinite(slerp(np.zeros(3, np.float32), b, times)).all()


def test_two_rows_of_an_interpolation_share_their_ends_and_labels(conditional):
    model = Recorded(conditional.model)
    (sheet,) = made("interpolation", replace(conditional, model=model))
    assert [row.label.split(" ")[0] for row in sheet.rows] == ["linear", "spherical"] * 4
    for (line, labels), (arc, same) in zip(model.decoded[::2], model.decoded[1::2], strict=True):
        np.testing.assert_allclose(line[[0, -1]], arc[[0, -1]], atol=1e-5)
        assert np.abs(line[4] - arc[4]).max() > 0.01
        assert labels == same
        assert len(set(labels)) == 1
    assert "the arc keeps the length" in sheet.caption


def test_for_a_uniform_prior_it_says_why_the_line_is_natural(subjects):
    (sheet,) = made("interpolation", subjects("gan-digits"))
    assert "every point of a line between two latents is as likely" in sheet.caption


def test_codes_do_not_move_between_two_latents(subjects):
    subject = subjects("infogan-digits")
    model = Recorded(subject.model)
    made("interpolation", replace(subject, model=model))
    dim = subject.arch.latent.dim
    for z, _ in model.decoded:
        assert (z[:, dim:] == z[0, dim:]).all()


def test_along_a_row_of_a_traversal_one_code_moves_and_nothing_else(subjects):
    subject = subjects("infogan-digits")
    model = Recorded(subject.model)
    sheets = made("codes", replace(subject, model=model))
    known = subject.arch.latent.codes
    assert len(sheets) == len(known)
    rows = iter(model.decoded)
    for code, sheet in zip(known, sheets, strict=True):
        for _ in sheet.rows:
            z, _labels = next(rows)
            columns = slice(code.column, code.column + code.size)
            rest = np.delete(z, np.r_[columns], axis=1)
            assert (rest == rest[0]).all()
            if code.kind == "categorical":
                np.testing.assert_array_equal(z[:, columns], np.eye(code.size))
            else:
                np.testing.assert_allclose(z[:, code.column], np.linspace(-2, 2, 9))
                assert sheet.heads[2] == "-1"
                assert sheet.heads[-3] == "1"


@pytest.mark.parametrize("size", [2, 3, 10])
def test_the_rows_of_a_continuous_code_differ_in_the_categorical_one(size):
    model = Coded(size)
    *_, continuous = made("codes", model.subject())
    shown = [int(z[0, 4 : 4 + size].argmax()) for z in model.decoded[-len(continuous.rows) :]]
    assert len(set(shown)) == min(size, 5)


class Coded:
    """A coded prior with one categorical code of `size` values behind 4 columns of noise, and a continuous one."""

    def __init__(self, size):
        self.latent, self.decoded = CodedLatent(dim=4, categorical=(size,), continuous=1), []

    def subject(self):
        spec = SimpleNamespace(arch=SimpleNamespace(latent=self.latent, family="coded"))
        return Subject(spec, "coded", model=self)

    def latents(self, n=1, seed=0, **_):
        return np.zeros((n, self.latent.width), np.float32)

    def decode(self, z, labels=None):
        self.decoded.append(z.copy())
        return np.zeros((len(z), 8, 8, 1), np.uint8)


def test_one_latent_is_carried_over_to_every_label(conditional):
    model = Recorded(conditional.model)
    _, sheet, *_ = made("arithmetic", replace(conditional, model=model))
    for z, labels in model.decoded[: len(sheet.rows)]:
        assert (z == z[0]).all()
        assert labels == list(range(10))
    assert sheet.heads == [str(label) for label in range(10)]


class Glow:
    """Conditional; the mean pixel is linear in the first coordinate of z: 0.5 + z₀ / 10, for labels of 5 and more + 0.1."""

    def latents(self, n=1, seed=0, start=0, **_):
        return np.random.default_rng([seed, start]).standard_normal((n, 8)).astype(np.float32)

    def decode(self, z, labels=None):
        values = np.clip(127.5 + 25.5 * (z[:, 0] + (np.asarray(labels) >= 5)), 0, 255).astype(np.uint8)
        return np.tile(values[:, None, None, None], (1, 8, 8, 1))

    def sample(self, n=None, **_):
        return self.decode(self.latents(n), [0] * n)


def test_of_a_conditional_model_brightness_is_added_across_labels(conditional):
    model = Recorded(Glow())
    *_, text, sheet = made("arithmetic", replace(conditional, model=model))
    assert "bright b" in text.text
    assert len(sheet.rows) == 5
    for row, (z, labels) in zip(sheet.rows, model.decoded[-5:], strict=True):
        a, b = labels[0], labels[2]
        assert a != b
        assert labels == [a, a] + [b] * 8
        np.testing.assert_allclose(z[3], z[0] - z[1] + z[2], atol=1e-5)
        assert np.abs(z[4:9] - z[3]).max() <= 0.25
        bright_a, dark_a, dark_b = 0.5 + (z[:3, 0] + np.array([a >= 5, a >= 5, b >= 5])) / 10
        assert bright_a > dark_a + 0.3, "chosen among many"
        reached = 0.5 + (z[3, 0] + (b >= 5)) / 10
        assert reached == pytest.approx(bright_a - dark_a + dark_b, abs=1e-5)
        shown = float(row.note.split(" ")[2].rstrip(";"))
        assert shown == pytest.approx(min(reached, 1.0), abs=0.01)


def test_a_conditional_model_too_slow_for_sums_still_shows_its_latents_under_every_label(conditional):
    _, sheet, why = made("arithmetic", replace(conditional, effort=Effort(1e-9, 1000)))
    assert len(sheet.rows) == 6
    assert "No sums of latents are drawn: it takes" in why.text


def test_arithmetic_gives_the_class_that_the_latents_say(known_model):
    """In `Lookup`, the class is linear in z: a − b + b' is an a, exactly."""
    _, sheet = made("arithmetic", known_model)
    for row in sheet.rows[:2]:
        a = row.label.split(" ")[0]
        assert row.note.startswith(f"read as {a}"), row
    a, _, b, _, c = sheet.rows[2].label.split(" ")
    assert sheet.rows[2].note.startswith(f"read as {(int(a) - int(b) + int(c)) % 10}")


def test_reconstructions_measure_the_error_that_numpy_gives(subjects):
    subject = subjects("vae-digits")
    text, sheet = made("reconstructions", subject)
    assert [row.label for row in sheet.rows[:2]] == ["x", "G(E(x))"]
    order = np.sort(np.random.default_rng(0).permutation(subject.dataset.manifest.samples)[:1000])
    x = subject.dataset.images(order)[0].permute(0, 2, 3, 1).numpy()
    again = subject.model.decode(subject.model.encode(x))
    error = ((x / 255.0 - again / 255.0) ** 2).mean()
    assert f"is {error:.4f} (pixels" in text.text
    assert "training images" in text.text
    assert "were trained on" in text.text
    held_out, _ = made("reconstructions", replace(subject, held_out=subject.dataset))
    assert "held-out images" in held_out.text


def test_identical_images_have_nothing_to_reconstruct_apart(subjects):
    subject = subjects("vae-digits")
    same = SimpleNamespace(
        manifest=SimpleNamespace(samples=40, name="grey"),
        images=lambda rows: (torch.full((len(rows), 1, 8, 8), 9, dtype=torch.uint8), None),
    )
    text, _ = made("reconstructions", replace(subject, held_out=same))
    assert "all the same, so there is nothing" in text.text
    assert "nan" not in text.text


def test_nearest_neighbours_are_those_of_a_naive_search(conditional):
    data = conditional.dataset
    among = real_indices(data.manifest.samples, 1500)  # two chunks
    query = among[[0, 700, 1499]]
    found = search(data, among, pixels(data.images(query)[0]), pixels, exclude=query)
    everything = data.images(np.arange(data.manifest.samples))[0].double().flatten(1).numpy() / 255.0
    for row, own in enumerate(query):
        distance = np.sqrt(((everything - everything[own]) ** 2).mean(axis=1))
        others = [number for number in among if number != own]
        best = sorted(others, key=lambda number: distance[number])[:5]
        np.testing.assert_allclose(found.distance[row], distance[best], atol=1e-4)


def test_a_model_that_copies_its_training_images_is_caught(known_model):
    copier = replace(known_model, model=Lookup(known_model.dataset, 8, copies=True), effort=Effort(60.0, 500))
    text, histograms, by_pixels, _ = made("neighbours", copier)
    assert "100.0% of the samples come nearer" in text.text
    assert "look below for copies" in text.text
    assert by_pixels.rows[0].label == "0"
    assert len(histograms.charts) == 2
    honest, *_ = made("neighbours", replace(known_model, model=_noise(known_model)))
    assert "0.0% of the samples come nearer" in honest.text
    assert "copies" not in honest.text


def _noise(subject):
    class Noise(Lookup):
        def sample(self, n=None, **_):
            return np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)

    return Noise(subject.dataset, 8)


def test_the_truncation_curve_is_the_evaluations_own_score(conditional):
    text, _, sheet = made("truncation", conditional)
    assert len(sheet.rows) == 7
    assert "drawn again" in text.text
    assert "menable to truncation" in text.text
    assert "200 generated" in text.text

    def features(images):
        kept = conditional.features(images).numpy()
        return Features(Moments.of(kept), kept)

    measured = measure(replace(conditional, effort=Effort(0.0, 200)), 100)
    assert list(measured) == [None, 1.0, 0.5], "when the time is up, three thresholds remain"
    real = features(conditional.dataset.images(real_indices(conditional.dataset.manifest.samples, 100))[0])
    fake = features(torch.from_numpy(conditional.model.sample(n=100, truncation=0.5)).permute(0, 3, 1, 2))
    truth = score(real, fake, ("fid", "precision", "recall"))
    truth["saturated"] = saturation(conditional.model.sample(n=100, truncation=0.5))
    assert measured[0.5] == {name: pytest.approx(value, rel=1e-3) for name, value in truth.items()}


def test_curves_are_grouped_and_a_runaway_gets_a_logarithmic_axis():
    steps = tuple(range(1, 1001))
    curve = Curve(steps, tuple(64 * step for step in steps), tuple(1.0 / step**2 for step in steps))
    flat = Curve(steps, curve.images, (1.0,) * 1000)
    names = {
        "D/loss": flat,
        "G/loss": curve,
        "D/real": flat,
        "D/fake": flat,
        "Q/bound": flat,
        "images_per_second": flat,
    }
    spec = Subject.__new__(Subject)
    object.__setattr__(spec, "history", History(metrics=names, source="events"))
    (block,) = made("losses", spec)
    assert [chart.title for chart in block.charts] == ["Losses", "D/fake and D/real", "Q/bound", "Speed, images/s"]
    assert wants_log(curve.values)
    assert not wants_log([1.0, 2.0, 3.0])
    assert not wants_log([-1.0, 1000.0])
    assert not wants_log([])
    assert "images shown" in block.charts[0].svg


def test_a_long_curve_is_thinned_to_means_with_the_extremes_kept():
    x, y = np.arange(3001.0), np.random.default_rng(0).standard_normal(3001)
    xs, mean, low, high = charts.thinned(x, y)
    assert len(xs) == charts.MOST_POINTS
    assert low.min() == y.min()
    assert high.max() == y.max()
    np.testing.assert_allclose(mean[0], y[:11].mean())


def test_scores_name_the_best_and_when(conditional):
    fid = Curve((10, 20, 30), (640, 1280, 1920), (9.0, 3.0, 5.0))
    recall = Curve((10, 20, 30), (640, 1280, 1920), (0.1, 0.4, 0.3))
    _, table = made("scores", replace(conditional, history=History(scores={"fid": fid, "recall": recall})))
    assert table.rows == [["fid", "3", "1,280", "5"], ["recall", "0.4", "1,280", "0.3"]]


@pytest.mark.parametrize(
    ("recipe", "section", "reason"),
    [
        ("dcgan-digits", "codes", "has no latent codes"),
        ("dcgan-digits", "reconstructions", "has no encoder"),
        ("dcgan-digits", "losses", "neither the job's events"),
        ("dcgan-digits", "scores", "it was scored once"),
        ("gan-digits", "truncation", "the prior is uniform"),
        ("infogan-digits", "truncation", "the prior is uniform"),
        ("infogan-digits", "arithmetic", "sums of one-hot codes"),
    ],
)
def test_what_does_not_apply_is_left_out_with_the_reason(subjects, recipe, section, reason):
    assert reason in why_not(section, subjects(recipe))


def test_without_data_what_needs_them_says_so_and_the_rest_is_shown(conditional):
    blind = replace(conditional, dataset=None, features=None, missing="the training data can't be read: gone")
    for section in ("classes", "neighbours", "truncation"):
        assert "gone" in why_not(section, blind)
    for section in ("samples", "interpolation", "arithmetic", "about"):
        assert made(section, blind)


def test_a_model_too_slow_for_a_jobs_report_says_what_to_do(conditional):
    slow = replace(conditional, effort=replace(QUICK, seconds=1e-9))
    assert "`agon report`" in why_not("truncation", slow)
    with pytest.raises(LeftOut, match=r"s or more here$"):
        replace(conditional, effort=Effort(1e-9, 1000)).affordable(1.0)
