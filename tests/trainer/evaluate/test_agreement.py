"""A classifier's agreement with the labels that were asked for."""

from __future__ import annotations

import numpy as np
import torch

from trainer.evaluate.agreement import agreement, fit, predictions


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images of two classes: a bright left or right half."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 100, (count, 1, 8, 8))
    images[labels == 0, :, :, :4] += 120
    images[labels == 1, :, :, 4:] += 120
    return torch.from_numpy(images.astype(np.uint8)), torch.from_numpy(labels)


def test_a_fitted_classifier_finds_the_classes_of_other_images_and_counts_wrong_requests() -> None:
    net = fit(*stripes(300, 0), 2, epochs=3)
    images, labels = stripes(100, 1)
    assert (predictions(net, images) == labels.numpy()).mean() == 1.0
    asked = labels.numpy().copy()
    asked[:25] = 1 - asked[:25]
    assert agreement(net, images, asked).value == 0.75


def test_fitting_is_the_same_again_and_leaves_torchs_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = (fit(*stripes(130, 0), 2, epochs=1).state_dict() for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
