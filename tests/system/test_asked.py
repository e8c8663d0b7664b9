"""A model of the registry asked through the whole stack: API, reconciler, Ray Serve, MLflow."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from embedded import Stack
from fastapi.testclient import TestClient
from packages import conditional, packaged
from PIL import Image

from service.app import create_app
from service.client import Client
from service.plans.planner import Planner
from service.settings import Settings
from service.stack.processes import kill_members, members
from trainer import tracking
from trainer.plan.result import Plan
from trainer.publish.portable.generator import Generator
from trainer.serve.wire import PLANS

__all__ = ["conditional", "packaged"]
pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(300), pytest.mark.xdist_group("stack")]
MODEL = "asked"


def _register(stack: Stack, package: Path, name: str = MODEL) -> None:
    client = tracking.client(stack.mlflow)
    run = client.create_run(client.create_experiment(name)).info
    client.create_registered_model(name)
    client.log_artifacts(run.run_id, str(package), "model")
    version = client.create_model_version(name, f"{client.get_run(run.run_id).info.artifact_uri}/model", run.run_id)
    client.set_registered_model_alias(name, "champion", version.version)


def _processes(stack: Stack, words: str) -> list[psutil.Process]:
    found = []
    for process in members(stack.record.stack_id):
        with suppress(psutil.Error):
            found += [process] if words in " ".join(process.cmdline()) else []
    return found


@pytest.fixture(autouse=True)
def nothing_left(stack: Stack) -> Iterator[None]:
    """Others train on these cores: what still answers, also after a failure, would keep them."""
    yield
    with stack.client() as client:
        client.stop_serving()
        _free(client)


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


def test_while_mlflow_is_dead_a_version_that_is_loaded_is_asked_on_and_all_else_when_it_is_back(
    stack: Stack, conditional
) -> None:
    for name in ("loaded", "unloaded"):
        _register(stack, conditional.folder, name)
    asking = Asking(stack)
    with stack.client() as client:
        expected = client.generate("loaded/1", 2, form="npz").content
    with asking.all_the_time("loaded?version=1", expected):
        asking.until(20)
        assert kill_members(stack.record.stack_id, "mlflow")
        asking.until(20)
        for what in ("loaded", "unloaded?version=1", "unloaded"):
            reply = _answered(lambda what=what: asking.once(what), 503)  # an alias is gone by for a moment
            assert int(reply.headers["Retry-After"]) > 0
            assert f"MLflow at {stack.mlflow} can't be reached" in reply.json()["detail"]
        stack.agon("up")
        for what in ("loaded", "unloaded?version=1", "unloaded"):
            assert _answered(lambda what=what: asking.once(what), 200).content == expected, (
                "the same net, the same bytes"
            )
        asking.until(20)


class Asking:
    """One client."""

    def __init__(self, stack: Stack) -> None:
        headers = {"Authorization": f"Bearer {stack.layout.token.read_text().strip()}"}
        self.http = httpx.Client(base_url=stack.record.api_url, headers=headers, timeout=60.0, trust_env=False)
        self.answered, self.wrong = 0, []

    def once(self, what: str) -> httpx.Response:
        name, _, query = what.partition("?")
        return self.http.post(f"/v1/models/{name}/generate?{query}", json={"n": 2, "form": "npz"})

    @contextmanager
    def all_the_time(self, what: str, expected: bytes) -> Iterator[None]:
        """One question after another in a thread of its own, each answered with these bytes."""
        over = threading.Event()

        def ask() -> None:
            while not over.is_set():
                reply = self.once(what)
                self.answered += 1
                if (reply.status_code, reply.content) != (200, expected):
                    self.wrong.append((reply.status_code, reply.text[:300]))

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        assert self.wrong == []

    def until(self, more: int) -> None:
        """Until so many more are answered."""
        wanted, end = self.answered + more, time.monotonic() + 60
        while self.answered < wanted:
            assert time.monotonic() < end
            time.sleep(0.05)


def _answered(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    end = time.monotonic() + 60
    while (reply := ask()).status_code != status:
        assert time.monotonic() < end, reply.text[:300]
        time.sleep(0.1)
    return reply


def test_an_api_without_torch_has_a_plan_made_on_the_cluster(stack: Stack) -> None:
    planner = Planner(5.0)
    planner.able = False  # as where torch is not installed
    settings = Settings(
        home=stack.layout.home,
        allowed_hosts=("testserver",),
        token_file=stack.layout.token,
        ray_address=stack.ray,
        ray_token_file=stack.layout.ray_token,
        mlflow_uri=stack.mlflow,
        serve_url=f"http://127.0.0.1:{stack.record.ports['serve']}",
        reconciler=False,
        webhooks=False,
    )
    with TestClient(
        create_app(settings, planner=planner)
    ) as second:  # another process of the stack's API, as far as anyone sees
        second.headers["Authorization"] = f"Bearer {stack.layout.token.read_text().strip()}"
        reply = _answered(lambda: second.post("/v1/plans", json={"recipe": "gan-digits", "gpu": "cpu", "gpus": 1}), 200)
        assert Plan.model_validate_json(reply.content).family == "gan"
        with stack.client() as client:
            _seen(lambda: {one.name: one.replicas for one in client.serving().applications}[PLANS] == 1)


def _seen(holds: Callable[[], bool]) -> None:
    """Replicas are counted as often as the reconciler looks."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.3)


def _free(client: Client) -> None:
    _seen(lambda: not any(one.cpus for one in client.serving().applications))


def _until_gone(stack: Stack) -> bool:
    end = time.monotonic() + 60
    while left := [" ".join(process.cmdline()) for process in _processes(stack, "ray::Serve")]:
        assert time.monotonic() < end, left
        time.sleep(0.3)
    return True
