"""A model of the registry asked through the whole stack: API, reconciler, Ray Serve, MLflow."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from embedded import Stack
from packages import conditional, packaged
from PIL import Image

from service.client import Client
from service.stack.processes import members
from trainer import tracking
from trainer.publish.portable.generator import Generator

__all__ = ["conditional", "packaged"]
pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300), pytest.mark.xdist_group("stack")]
MODEL = "asked"


def _register(stack: Stack, package: Path) -> None:
    client = tracking.client(stack.mlflow)
    run = client.create_run(client.create_experiment(MODEL)).info
    client.create_registered_model(MODEL)
    client.log_artifacts(run.run_id, str(package), "model")
    version = client.create_model_version(MODEL, f"{client.get_run(run.run_id).info.artifact_uri}/model", run.run_id)
    client.set_registered_model_alias(MODEL, "champion", version.version)


def _processes(stack: Stack, words: str) -> list[psutil.Process]:
    found = []
    for process in members(stack.record.stack_id):
        with suppress(psutil.Error):
            found += [process] if words in " ".join(process.cmdline()) else []
    return found


def test_a_model_is_asked_survives_kills_and_gives_its_place_back(stack: Stack, conditional, tmp_path: Path) -> None:
    _register(stack, conditional.folder)
    picture = tmp_path / "grid.png"
    done = stack.agon("sample", MODEL, "--remote", "-n", "8", "--labels", "balanced", "--out", str(picture))
    assert done.stdout == f"{picture}\n"
    with Image.open(picture) as shown:
        assert shown.size[0] > 64
    expected = Generator(conditional.folder).sample(8, seed=3, labels="balanced").astype(np.int16)
    with stack.client() as client:

        def ask() -> bytes:
            answer = client.generate(MODEL, 8, seed=3, labels="balanced", form="npz")
            assert answer.model == f"{MODEL}/1"
            assert np.abs(answer.arrays()["images"].astype(np.int16) - expected).max() <= 1
            return answer.content

        first = ask()
        for part in ("ServeReplica:models", "ProxyActor", "ServeController"):
            (process, *_) = _processes(stack, part)
            os.kill(process.pid, signal.SIGKILL)
            assert ask() == first, f"without a hand, and the same bytes, after {part} died"
        assert client.cluster().model_dump()["serving"]["cpus"] == 1.0
        assert "models" in stack.agon("serve").stdout
        client.stop_serving()
        _free(client)
    assert _until_gone(stack)


def _free(client: Client) -> None:
    end = time.monotonic() + 60
    while any(one.cpus for one in client.serving().applications):
        assert time.monotonic() < end, client.serving()
        time.sleep(0.3)


def _until_gone(stack: Stack) -> bool:
    end = time.monotonic() + 60
    while left := [" ".join(process.cmdline()) for process in _processes(stack, "ray::Serve")]:
        assert time.monotonic() < end, left
        time.sleep(0.3)
    return True
