"""Models from the registry: checked, measured, loaded without a pickle; and why one can't be."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from asking import arguments, id_of
from mlflow.exceptions import MlflowException, RestException
from requests import ConnectionError as AwayError

from service.stack.ports import free_ports
from trainer.checksums import verify_checksums
from trainer.serve import loading
from trainer.serve.refusals import RefusedError
from trainer.serve.wire import Reason


@pytest.fixture
def load(monkeypatch):
    """Loads m/1 from a registry that does as `give(out)` does; (model, room that was asked for)."""

    def loaded(give):
        def pull(name, out, uri):
            assert (name, uri) == ("m/1", "http://mlflow")
            try:
                give(out)
            except MlflowException as error:  # as the real one does
                raise ValueError("can't be pulled") from error
            verify_checksums(out)
            return out

        monkeypatch.setattr(loading, "pull", pull)
        room: list[int] = []
        with ThreadPoolExecutor(1) as device:
            return loading.load(id_of("m"), arguments(mlflow_uri="http://mlflow"), device, room.append), room

    return loaded


def test_a_package_is_loaded_with_what_its_answers_need(load, conditional):
    model, room = load(lambda out: shutil.copytree(conditional.folder, out))
    assert room == [model.size]
    assert model.size >= (conditional.folder / "model.safetensors").stat().st_size
    assert model.spec == conditional.spec
    assert model.digest == conditional.dataset.manifest.digest
    assert model.generator.sample(2).dtype == np.uint8  # though its folder is gone


def test_an_encoder_counts(load, encoding):
    model, _ = load(lambda out: shutil.copytree(encoding.folder, out))
    assert model.size == sum(path.stat().st_size for path in encoding.folder.glob("*.safetensors"))


def test_a_model_without_a_spec_that_can_be_read_is_loaded_all_the_same(load, conditional, monkeypatch):
    def give(out):
        shutil.copytree(conditional.folder, out)
        (out / "spec.yaml").write_text("of: another version")
        (out / "scores.json").write_text("[]")

    monkeypatch.setattr("test_loading.verify_checksums", lambda _: None)
    model, _ = load(give)
    assert (model.spec, model.digest) == (None, None)


def raising(error):
    def give(out):
        raise error

    return give


def rest(code):
    return RestException({"error_code": code, "message": "as MLflow says"})


def foreign(out):
    out.mkdir()
    (out / "MLmodel").write_text("flavors: {}")


@pytest.mark.parametrize(
    ("give", "reason"),
    [
        (raising(rest("RESOURCE_DOES_NOT_EXIST")), Reason.MISSING),
        (foreign, Reason.MISSING),
        (raising(rest("TEMPORARILY_UNAVAILABLE")), Reason.AWAY),
        (raising(MlflowException("API request failed with exception")), Reason.AWAY),
        (raising(AwayError("refused")), Reason.AWAY),
        (raising(OSError("no space left")), Reason.AWAY),
    ],
)
def test_what_isnt_there_is_told_from_a_registry_that_is_away(load, give, reason):
    with pytest.raises(RefusedError) as refused:
        load(give)
    assert refused.value.refusal.reason is reason
    assert (refused.value.refusal.retry_after is not None) == (reason is Reason.AWAY)


def test_a_registry_that_nobody_runs_is_away(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    with ThreadPoolExecutor(1) as device, pytest.raises(RefusedError) as refused:
        loading.load(id_of("m"), arguments(mlflow_uri=f"http://127.0.0.1:{port}"), device, lambda _: None)
    assert refused.value.refusal.reason is Reason.AWAY
    assert "127.0.0.1" not in refused.value.refusal.message


@pytest.mark.parametrize("damage", ["altered", "cut", "missing"])
def test_a_damaged_package_is_told_as_one(load, conditional, damage):
    def give(out):
        shutil.copytree(conditional.folder, out)
        weights = out / "model.safetensors"
        if damage == "altered":
            weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
        elif damage == "cut":
            weights.write_bytes(weights.read_bytes()[:100])
        else:
            weights.unlink()

    with pytest.raises(RefusedError) as refused:
        load(give)
    assert refused.value.refusal.reason is Reason.BROKEN


def test_a_package_whose_parts_dont_fit_is_broken(load, conditional, encoding, monkeypatch):
    def give(out):
        shutil.copytree(conditional.folder, out)
        shutil.copyfile(encoding.folder / "model.safetensors", out / "model.safetensors")

    monkeypatch.setattr("test_loading.verify_checksums", lambda _: None)
    with pytest.raises(RefusedError) as refused:
        load(give)
    assert refused.value.refusal.reason is Reason.BROKEN
