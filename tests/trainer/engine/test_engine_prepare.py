"""What a training takes from its data before the first step, and that it takes it once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from engine_doubles import FixedDataset, Recorder, gan_spec, spawn

from trainer.checkpoint import Checkpointer, restore
from trainer.engine import prepare
from trainer.engine.distributed import Distributed
from trainer.engine.loop import Loop
from trainer.engine.state import TrainState


def mean_on_rank(rank: int, world: int) -> list[float]:
    spec = gan_spec(f"resources.workers={world}")
    dataset = FixedDataset(spec)
    mean = prepare.mean_image(dataset, Distributed.create(spec, world=world))
    assert torch.allclose(mean, dataset.images(range(7))[0].double().mean(dim=0).float() / 255.0, rtol=1e-6)
    return mean.flatten().tolist()


def test_the_mean_image_is_that_of_all_images_and_the_same_on_any_number_of_workers() -> None:
    (alone,) = [mean_on_rank(0, 1)]
    assert spawn(2, mean_on_rank) == [alone, alone]


def test_of_a_large_dataset_the_mean_is_over_images_from_all_of_it(monkeypatch: Any) -> None:
    spec = gan_spec()
    dataset, asked = FixedDataset(spec), []
    inner = dataset.images
    monkeypatch.setattr(dataset, "images", lambda indices: asked.extend(indices) or inner(indices))
    monkeypatch.setattr(prepare, "MOST", 3)
    mean = prepare.mean_image(dataset, Distributed.create(spec, world=1))
    assert asked[1:] == [0, 2, 4]  # of 7; the first call asks for the shape
    assert torch.allclose(mean, inner([0, 2, 4])[0].double().mean(dim=0).float() / 255.0)


def test_a_training_starts_from_prepared_nets_and_averages() -> None:
    spec = gan_spec("ema={decay: 0.9}", "train.images=8")
    distributed = Distributed.create(spec, world=1)
    state, seen = TrainState.create(spec, distributed), []
    name = "layers.4.bias"
    assert not state.net("G").get_parameter(name).any()

    def look(event: Any, run: Any) -> None:
        if not seen:
            seen.extend(net.get_parameter(name).clone() for net in (state.players["G"].net, state.averages["G"]))

    Loop(spec, state, distributed, FixedDataset(spec), [Recorder(look)]).run()
    expected = prepare.mean_image(FixedDataset(spec), distributed).logit().flatten()
    assert torch.equal(seen[0], expected)
    assert torch.equal(seen[1], expected)


def test_a_restarted_training_is_not_prepared_again(tmp_path: Path, monkeypatch: Any) -> None:
    spec = gan_spec("train.images=16", "checkpoint.every_steps=1")
    distributed = Distributed.create(spec, world=1)
    listeners = [Checkpointer(tmp_path, spec, ())]
    Loop(spec, TrainState.create(spec, distributed), distributed, FixedDataset(spec), listeners).run()
    listeners[0].close()

    longer = spec.replace(train=spec.train.replace(images=24))
    state = TrainState.create(longer, distributed)
    restore(state, tmp_path, distributed)
    monkeypatch.setattr(prepare, "mean_image", lambda *_: 1 / 0)
    assert Loop(longer, state, distributed, FixedDataset(longer), []).run() == "completed"
