"""Where features come from: the dataset's own classifier, or a user's file, of which nothing is unpickled."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluate_doubles import Unlabelled, small_spec, train_extractor
from forked import context
from torch import nn

from trainer.access import Access
from trainer.data.locate import ANYWHERE
from trainer.engine.distributed import Distributed
from trainer.errors import BadSpecError
from trainer.evaluate import classifier as module
from trainer.evaluate import extractor
from trainer.evaluate.classifier import FEATURES, classifier_extractor, prepare
from trainer.evaluate.features import FileExtractor, file_extractor

CPU = torch.device("cpu")


def test_the_classifier_has_learned_the_classes(classifier, digits):
    images, labels = digits.images(range(0, 1797, 3))
    with torch.inference_mode():
        predicted = classifier.net(prepare(images, classifier.size)).argmax(1)
    assert (predicted == labels).float().mean() > 0.95


def test_features_are_of_the_promised_shape_and_finite(classifier, digits):
    images, _ = digits.images(range(7))
    features = classifier(images)
    assert features.shape == (7, FEATURES)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


def test_features_have_mean_0_and_deviation_1_over_the_real_images(classifier, digits):
    features = classifier(digits.images(range(digits.manifest.samples))[0]).double().numpy()
    deviations = features.std(axis=0)
    assert abs(features.mean(axis=0)).max() < 1e-3
    assert deviations.max() < 1.001
    assert np.median(deviations) > 0.999


def test_a_feature_that_hardly_moves_on_real_images_does_not_outweigh_the_others():
    net, hidden = module.FeatureNet(1, 8, 10).eval(), torch.rand(500, FEATURES)
    hidden[:, 0] = 3.0
    hidden[:, 1] *= 1e-6
    net.body = nn.Identity()
    net.standardise(hidden)
    moved = hidden[:1].clone()
    moved[:, :2] += 1.0  # what moves another feature by about √12 deviations
    assert ((net.features(moved) - net.features(hidden[:1]))[:, :2] < 40).all()
    torch.testing.assert_close(net.features(hidden)[:, 2:].std(dim=0, correction=0), torch.ones(FEATURES - 2))
    net.standardise(torch.zeros(5, FEATURES))  # a net that learned nothing
    assert (net.features(torch.zeros(2, FEATURES)) == 0).all()


def test_it_is_trained_once_and_then_read_from_the_cache(classifier, digits, cache, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "train", refuse)
    assert classifier_extractor(digits, cache, CPU).digest == classifier.digest


@pytest.mark.long
def test_two_processes_at_once_train_one_extractor_and_it_is_the_same_in_every_cache(classifier, cache, tmp_path):
    """The other cache is empty: so this also says that training is deterministic."""
    children = [
        context().Process(target=train_extractor, args=(str(tmp_path / "new"), str(cache), str(tmp_path), name))
        for name in ("a", "b")
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert len(list(tmp_path.glob("*.trained"))) == 1
    assert {path.read_text() for path in tmp_path.glob("*.digest")} == {classifier.digest}


def test_training_leaves_the_global_generator_and_the_threads_alone(digits):
    images = torch.rand(256, 1, 8, 8)
    net, threads = module.FeatureNet(1, 8, 10), torch.get_num_threads()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    module.train(net, images, torch.randint(10, (256,), generator=torch.Generator().manual_seed(0)), seed=1)
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


@pytest.mark.long
def test_a_dataset_without_classes_learns_rotations_and_says_so(digits, cache):
    flat = Unlabelled(digits)
    found = classifier_extractor(flat, cache, CPU)
    assert found.name == "rotation-classifier"
    turned, turns = module.rotate(prepare(flat.images(range(400))[0], found.size))
    with torch.inference_mode():
        assert (found.net(turned).argmax(1) == turns).float().mean() > 0.6


def test_rotations_are_what_they_are_called():
    x = torch.arange(16.0).reshape(4, 1, 2, 2)
    turned, turns = module.rotate(x)
    assert turns.tolist() == [0, 1, 2, 3]
    for image, original, turn in zip(turned, x, turns, strict=True):
        assert torch.equal(image, torch.rot90(original, int(turn), dims=(1, 2)))


def test_large_images_are_resized_and_the_provenance_says_how():
    assert prepare(torch.zeros(1, 3, 128, 128, dtype=torch.uint8), module.MAX_RESOLUTION).shape == (1, 3, 64, 64)


class Pooled(nn.Module):
    """Means of the image's quarters: features [B, 12] in [0, 255]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)


class Misshapen(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


def saved_torchscript(net, path):
    torch.jit.save(torch.jit.script(net), str(path))
    return path


def saved_pt2(net, path, dynamic=True):
    shapes = ({0: torch.export.Dim("b")},) if dynamic else None
    torch.export.save(torch.export.export(net, (torch.zeros(2, 3, 8, 8),), dynamic_shapes=shapes), path)
    return path


def from_file(path, digits, cache, access=ANYWHERE):
    spec = small_spec(extractor=str(path))
    return extractor(spec.evaluation, digits, cache, Distributed.create(spec, world=1), access)


@pytest.mark.parametrize("save", [saved_torchscript, saved_pt2])
def test_a_users_file_gets_float_rgb_in_0_to_255(save, digits, cache, tmp_path):
    path = save(Pooled(), tmp_path / "net.pt2")
    found = from_file(path, digits, cache)
    images, _ = digits.images(range(5))
    expected = nn.functional.adaptive_avg_pool2d(images.float().repeat(1, 3, 1, 1), 2).flatten(1)
    torch.testing.assert_close(found(images), expected)
    assert found.name == "net.pt2"
    assert found.digest == module.file_digest(path)


def test_a_file_that_gives_no_features_is_refused_at_once(digits, cache, tmp_path):
    with pytest.raises(BadSpecError, match=r"evaluation\.extractor: .* must give features \[B, F\]"):
        from_file(saved_torchscript(Misshapen(), tmp_path / "net.ts"), digits, cache)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_name_the_extractor_and_are_its_users_to_mend(value):
    def net(x):
        features = x.mean(dim=(2, 3))
        features[1, 0] = value
        return features

    eye = FileExtractor("mine.pt", "0" * 64, net, torch.device("cpu"))
    with pytest.raises(BadSpecError, match=r"evaluation\.extractor: mine\.pt gives NaN or infinity for 1 of 3 images"):
        eye(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))


def test_a_program_with_a_fixed_batch_is_refused_at_once(digits, cache, tmp_path):
    with pytest.raises(BadSpecError, match=r"evaluation\.extractor"):
        from_file(saved_pt2(Pooled(), tmp_path / "net.pt2", dynamic=False), digits, cache)


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps({"a": 1})])
def test_what_is_no_net_is_refused(content, digits, cache, tmp_path):
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    with pytest.raises(BadSpecError, match="neither a TorchScript nor a pt2"):
        from_file(path, digits, cache)


class Reader(torch.nn.Module):
    """Computes features, and reads a file of its own choice beside it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stolen = torch.from_file("/etc/hostname", size=1, dtype=torch.uint8)
        return x.flatten(1) + stolen.float()


@pytest.mark.parametrize("name", ["net.pt", "net.pt2"])
def test_a_program_that_opens_files_is_refused_before_it_runs(name, digits, cache, tmp_path):
    path = tmp_path / name
    if name == "net.pt":
        torch.jit.script(Reader()).save(path)
    else:
        plain = io.BytesIO()  # torch exports no program that opens files, so this one is forged
        torch.export.save(torch.export.export(nn.Flatten(), (torch.zeros(2, 3, 8, 8),)), plain)
        with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w") as forged:
            for member in source.namelist():
                text = re.sub(rb"torch\.ops\.aten\.\w+\.\w+", b"torch.ops.aten.from_file.default", source.read(member))
                forged.writestr(member, text)
    with pytest.raises(BadSpecError, match="opens files"):
        file_extractor(str(path), cache, torch.device("cpu"), Access(roots=(str(tmp_path),)))


def test_a_missing_file_and_one_outside_the_roots_are_refused(digits, cache, tmp_path):
    with pytest.raises(BadSpecError, match="no such file"):
        from_file(tmp_path / "none.pt2", digits, cache)
    path = saved_torchscript(Pooled(), tmp_path / "net.ts")
    with pytest.raises(BadSpecError, match="outside the allowed folders"):
        from_file(path, digits, cache, access=Access(roots=(str(tmp_path / "allowed"),)))


class Trap:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def rewritten(source: Path, target: Path, replace: dict[str, bytes], flag_pickles: bool = False) -> Path:
    """The archive with other content of some parts."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            part = name.partition("/")[2]
            if flag_pickles and part.endswith("weights_config.json"):
                config = json.loads(content)
                for payload in config["config"].values():
                    payload["use_pickle"] = True
                content = json.dumps(config).encode()
            new.writestr(name, replace.get(part, content))
    return target


def test_a_program_that_hides_a_pickle_is_refused_before_it_runs(digits, cache, tmp_path):
    trace = tmp_path / "trace"
    trap = io.BytesIO()
    torch.save(Trap(trace), trap)
    good = saved_pt2(nn.Sequential(Pooled(), nn.Linear(12, 4)), tmp_path / "good.pt2")
    hidden = rewritten(good, tmp_path / "inputs.pt2", {"data/sample_inputs/model.pt": trap.getvalue()})
    flagged = rewritten(good, tmp_path / "weights.pt2", {}, flag_pickles=True)
    for path in (hidden, flagged):
        with pytest.raises(BadSpecError, match=r"evaluation\.extractor"):
            from_file(path, digits, cache)
    assert not trace.exists()
    assert from_file(good, digits, cache)(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 4)


def test_a_program_that_grows_when_it_is_looked_through_is_refused(digits, cache, tmp_path):
    good = saved_pt2(nn.Sequential(Pooled(), nn.Linear(12, 4)), tmp_path / "good.pt2")
    for name, method, size in (("a.pt2", zipfile.ZIP_BZIP2, 10), ("b.pt2", zipfile.ZIP_DEFLATED, (64 << 20) + 1)):
        bomb = rewritten(good, tmp_path / name, {})
        with zipfile.ZipFile(bomb, "a", method) as archive:
            archive.writestr("good/data/more.json", bytes(size))
        with pytest.raises(BadSpecError, match=r"its good/data/more\.json is compressed otherwise"):
            from_file(bomb, digits, cache)
