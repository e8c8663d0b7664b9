"""Every accepted pair of a family with a loss and a penalty trains: a real step of it is finite and moves its players.

A spec that is accepted and then dies in its first step is the worst kind of refusal.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError

from trainer.data.stream import RealBatch
from trainer.engine.distributed import Distributed
from trainer.engine.metrics import Means, Stopwatch
from trainer.engine.state import TrainState
from trainer.engine.step import Stepper
from trainer.families import table
from trainer.families.arch import Arch
from trainer.objective.losses import LOSSES
from trainer.spec import Adam, Data, JobSpec, Objective, Train
from trainer.spec.sections import Penalty

PENALTIES = [kind() for kind in get_args(get_args(Penalty)[0])]
SLOPES = ("gradient-penalty", "r1", "r2")
WIDTHS = {
    "g_width": 8, "d_width": 8, "g_hidden": 16, "d_hidden": 8, "e_hidden": 16, "d_norm": "layer", "blocks": 1,
    "g_z_hidden": 8, "g_y_hidden": 8, "d_x_hidden": 8, "d_y_hidden": 8,
}  # fmt: skip
"""Fields that make nets small, and D treat images alone, where a family has them."""
ARCH = {cls.model_fields["family"].default: cls for cls in table.arch_classes()}
ADVERSARIAL = [name for name in table.NAMES if ARCH[name].adversarial]


def small(name: str, **fields: Any) -> Arch:
    known = ARCH[name].model_fields
    classes = 0 if ARCH[name].label_use == "none" else 10
    narrow = {field: value for field, value in WIDTHS.items() if field in known}
    return ARCH[name].model_validate({"resolution": 8, "channels": 1, "classes": classes, **narrow, **fields})


def variants(name: str) -> Iterator[tuple[str, Arch]]:
    """The family's nets in each of the forms that its fields choose between."""
    known = ARCH[name].model_fields
    yield "plain", small(name)
    if ARCH[name].label_use == "optional":
        yield "unconditional", small(name, classes=0)
    if "attention" in known:
        yield "attention", small(name, resolution=16, attention=8)
    if "d_norm" in known:
        yield from ((f"d_norm={norm}", small(name, d_norm=norm)) for norm in ("batch", "none"))


def spec_of(arch: Arch, objective: Objective, **train: Any) -> JobSpec | None:
    """The spec; None where it is refused."""
    optimizers = {name: Adam(lr=1e-3) for name in arch.players}
    settings = Train(images=64, batch=4, **train)
    try:
        return JobSpec(
            arch=arch, data=Data(url="data/any", lanes=1), optimizers=optimizers, objective=objective, train=settings
        )
    except ValidationError:
        return None


def cases() -> Iterator[Any]:
    """Each family with each penalty, with each loss, and in each form of its nets with the penalties of slopes; with channels
    last and in half precision, where other kernels and other functions of ours are taken, with one of these."""
    slopes = [penalty for penalty in PENALTIES if penalty.kind in SLOPES]
    for name in ADVERSARIAL:
        chosen: list[tuple[str, Arch, str | None, Any, dict[str, Any]]] = []
        chosen += [("plain", small(name), None, penalty, {}) for penalty in PENALTIES]
        for loss in LOSSES:
            pairs = [(loss, penalty) for penalty in (slopes[0], PENALTIES[0])]
            fitting = [pair for pair in pairs if spec_of(small(name), Objective(loss=pair[0], penalties=(pair[1],)))]
            chosen += [("plain", small(name), *pair, {}) for pair in fitting[:1]]
        for form, arch in list(variants(name))[1:]:
            chosen += [(form, arch, None, penalty, {}) for penalty in slopes]
        for form, arch in variants(name):
            chosen += [(f"{form}-channels_last", arch, None, slopes[0], {"channels_last": True})]
            chosen += [(f"{form}-bf16", arch, None, slopes[0], {"precision": "bf16"})]
        for form, arch, loss, penalty, train in chosen:
            objective = Objective(penalties=(penalty,), **({"loss": loss} if loss else {}))
            if spec := spec_of(arch, objective, **train):
                marks = () if form == "plain" and loss is None else pytest.mark.long
                yield pytest.param(spec, id=f"{name}-{form}-{loss or 'default'}-{penalty.kind}", marks=marks)


CASES = list(cases())


def batches(spec: JobSpec) -> Iterator[RealBatch]:
    arch = spec.arch
    for t in count():
        source = torch.Generator().manual_seed(t)
        shape = (spec.train.batch, arch.channels, arch.resolution, arch.resolution)
        images = torch.randint(256, shape, generator=source, dtype=torch.uint8)
        yield RealBatch(images, torch.randint(max(1, arch.classes), (len(images),), generator=source), t, 0)


@pytest.mark.parametrize("spec", CASES)
def test_a_step_of_every_accepted_pair_is_finite_and_moves_every_player(spec: JobSpec) -> None:
    distributed = Distributed.create(spec, world=1)
    state = TrainState.create(spec, distributed)
    before = {name: [p.detach().clone() for p in player.parameters] for name, player in state.players.items()}
    means = Means()
    stepper = Stepper(state, distributed, batches(spec), means, Stopwatch())
    stepper.step()
    metrics, _, _ = means.reduce(distributed, False, 1.0)
    assert all(map(torch.isfinite, map(torch.tensor, metrics.values()))), metrics
    for kind in (penalty.kind for penalty in spec.objective.penalties):
        if kind in (*SLOPES, "orthogonal"):
            assert any(name.endswith(f"/{kind.replace('-', '_')}") for name in metrics), metrics
    for name, player in state.players.items():
        assert all(bool(torch.isfinite(p).all()) for p in player.parameters), name
        assert any(not torch.equal(p, old) for p, old in zip(player.parameters, before[name], strict=True)), name


def test_penalties_of_slopes_are_accepted_with_every_family_whose_d_treats_images_alone() -> None:
    """So that the cases above are not empty."""
    found = {
        (spec.values[0].arch.family, penalty.kind)
        for spec in CASES
        for penalty in spec.values[0].objective.penalties
        if penalty.kind in SLOPES
    }
    assert found == {(name, kind) for name in ADVERSARIAL if not small(name).d_batch_statistics for kind in SLOPES}
