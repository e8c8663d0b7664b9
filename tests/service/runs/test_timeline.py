"""All grids of a training in order, and how many images were shown at each, though few of their files are opened."""

from __future__ import annotations

import numpy as np
import pytest

from service.runs import samples, timeline
from trainer.images import GridFacts, grid, save_png


def draw(folder, step, images):
    pixels = np.zeros((4, 8, 8, 1), np.uint8)
    path = folder / "samples" / f"step-{step:09d}.png"
    save_png(path, grid(pixels, 2), None if images is None else GridFacts.of(pixels, 2, step, images))
    return path


def asked_of(truth):
    """What answers like the files, and the steps that it was asked for."""
    asked = []

    def ask(step):
        asked.append(step)
        return truth[step]

    return ask, asked


def test_of_a_thousand_grids_a_few_are_opened_and_the_images_of_all_are_known():
    truth = {step: 64 * step for step in range(50, 50_001, 50)}
    ask, asked = asked_of(truth)
    assert timeline.shown_at(list(truth), ask, truth[50_000]) == list(truth.values())
    assert len(asked) == 2


def test_a_batch_that_changed_is_found():
    truth = {step: 64 * min(step, 1_700) + 256 * max(0, step - 1_700) for step in range(50, 50_001, 50)}
    ask, asked = asked_of(truth)
    assert timeline.shown_at(list(truth), ask, truth[50_000]) == list(truth.values())
    assert len(asked) < 30


def test_what_has_no_rule_is_asked_for_so_often_and_then_told_by_proportion():
    truth = {step: step * step for step in range(1, 1001)}
    ask, asked = asked_of(truth)
    found = timeline.shown_at(list(truth), ask, truth[1000])
    assert len(asked) <= timeline.MOST_OPENED + 1
    assert found == sorted(found)
    assert all(abs(one - known) <= 0.01 * 1000**2 for one, known in zip(found, truth.values(), strict=True))


def test_files_that_do_not_say_it_leave_it_open():
    assert timeline.shown_at([1, 2, 3], lambda step: None, None) == [None, None, None]
    assert timeline.shown_at([1, 2, 3], {1: None, 2: 20}.get, 30) == [None, 20, 30]


def test_a_grid_is_listed_with_the_tag_that_its_picture_is_asked_for_with(tmp_path):
    draw(tmp_path, 50, 3200)
    found = timeline.of(tmp_path.parent, tmp_path)
    opened = samples.at(tmp_path.parent, tmp_path, 50)
    opened.file.close()
    assert found.moments == (timeline.Moment(50, 3200, opened.grid.tag),)
    assert found.layout == {"count": 4, "columns": 2, "width": 64, "height": 64, "pad": 2}
    assert found.packed == f"50,3200,{opened.grid.tag}"


def test_what_is_no_grid_is_not_listed(tmp_path):
    path = draw(tmp_path, 100, 6400)
    path.with_name("step-0000000100.png").write_bytes(path.read_bytes())  # the same step by another name
    path.with_name("step-000000200.png").mkdir()
    path.with_name("step-000000300.png").symlink_to(path)
    assert [one.step for one in timeline.of(tmp_path.parent, tmp_path).moments] == [100]
    assert timeline.of(tmp_path.parent, tmp_path / "nothing") == timeline.Timeline()


@pytest.mark.parametrize(
    ("value", "images", "step"),
    [(0, False, 50), (74, False, 50), (76, False, 100), (9e9, False, 150), (6500, True, 100)],
)
def test_the_next_grid_to_a_step_or_to_so_many_images_is_found(value, images, step):
    found = timeline.Timeline(tuple(timeline.Moment(step, 64 * step, "0-0") for step in (50, 100, 150)))
    assert found.nearest(int(value), images=images).step == step
    assert found.before(120).step == 100 and found.before(20) is None


def test_the_images_of_a_step_without_a_grid_lie_between_those_around_it():
    found = timeline.Timeline(tuple(timeline.Moment(step, images, "") for step, images in ((50, 3200), (100, 9600))))
    assert [found.images(step) for step in (0, 25, 50, 75, 100, 200)] == [0, 1600, 3200, 6400, 9600, 19_200]
    assert timeline.Timeline().images(5) is None
    assert timeline.Timeline((timeline.Moment(50, None, ""),)).images(5) is None
