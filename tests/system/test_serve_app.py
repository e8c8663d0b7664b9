"""The applications on a real Ray Serve, with models from a real registry: right answers to many at a time, through a replica's death
and from nothing, and never another's image."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from packages import conditional, packaged, unconditional

from service.stack.ports import free_ports
from trainer import tracking
from trainer.families.table import recipes
from trainer.plan.devices import cpu
from trainer.plan.result import Plan
from trainer.publish.portable.generator import Generator
from trainer.serve.questions import PlanQuestion
from trainer.serve.wire import MODEL_HEADER, TOKEN_HEADER, VERSION_HEADER, ModelId, Reason, Refusal, ServeArguments

__all__ = ["conditional", "packaged", "unconditional"]
pytestmark = [pytest.mark.system, pytest.mark.timeout(300), pytest.mark.xdist_group("serve")]

SERVE = """
import json, sys
import ray
from ray import serve
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as built
from trainer.serve.app import build, build_plans
args, port = json.loads(sys.argv[1]), int(sys.argv[2])
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
serve.start(http_options={"host": "127.0.0.1", "port": port})
serve.run(built(build, args), name="models", route_prefix="/models")
serve.run(built(build_plans, args), name="plans", route_prefix="/plans")
print("ready", flush=True)
sys.stdin.read()
serve.shutdown()
ray.shutdown()
"""
"""A cluster and the applications, until its input ends."""
TOKEN = "a token of the test"
IDLE_SECONDS = 4.0


@dataclass
class Served:
    """The application. models: what the registry holds, by name."""

    process: subprocess.Popen[str]
    url: str
    models: dict[str, Generator]

    def replicas(self) -> list[psutil.Process]:
        below = psutil.Process(self.process.pid).children(recursive=True)
        return [process for process in below if _title(process).startswith("ray::ServeReplica:models")]

    def ask(self, question: dict[str, Any], model: str, seconds: float = 60.0, version: int = 1) -> httpx.Response:
        headers = {TOKEN_HEADER: f"Bearer {TOKEN}", MODEL_HEADER: str(ModelId(model, str(version), "0a"))}
        url = f"{self.url}/models/generate"
        with httpx.Client(trust_env=False, timeout=seconds) as client:
            return client.post(url, headers=headers, json={**question, "form": "npz"})

    def right(self, answer: httpx.Response, question: dict[str, Any], model: str) -> bool:
        """Whether the answer is this model's to this question, within the rounding of one level."""
        found = np.load(io.BytesIO(answer.content))
        expected = self.models[model].sample(**question)
        near = found["images"].shape == expected.shape and np.abs(found["images"].astype(int) - expected).max() <= 1
        return bool(near and answer.headers[VERSION_HEADER] == f"{model}/1")


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, conditional: Any, unconditional: Any) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("registry")
    registry = f"sqlite:///{folder}/mlflow.db"
    packages = {"classes": conditional.folder, "plain": unconditional.folder}
    client = tracking.client(registry)
    for name, package in packages.items():
        client.create_registered_model(name)
        client.create_model_version(name, str(package))
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    args = ServeArguments(token_digest=digest, mlflow_uri=registry, cpus=1.0, idle_seconds=IDLE_SECONDS)
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, args.model_dump_json(), str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", (folder / "serve.log").read_text()[-4000:]
            yield Served(
                process, f"http://127.0.0.1:{port}", {name: Generator(path) for name, path in packages.items()}
            )
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def _questions(count: int) -> list[tuple[str, dict[str, Any]]]:
    """Of both models, each another one: labels and seeds tell whose an image is."""
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(count):
        question: dict[str, Any] = {"n": 1 + number % 5, "seed": number}
        found.append(("plain", question))
        found.append(("classes", {**question, "labels": number % 10}))
    return found


def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def test_many_at_a_time_each_get_their_own_images_and_the_same_bytes_again(served: Served) -> None:
    questions = _questions(16)
    with ThreadPoolExecutor(16) as pool:
        first = list(pool.map(lambda asked: served.ask(asked[1], asked[0]), questions))
        again = list(pool.map(lambda asked: served.ask(asked[1], asked[0]), reversed(questions)))
    for (model, question), answer, later in zip(questions, first, reversed(again), strict=True):
        assert answer.status_code == 200, answer.text
        assert served.right(answer, question, model)
        assert answer.content == later.content


def test_refusals_come_through_as_they_are(served: Served) -> None:
    wrong = served.ask({"labels": 10}, "classes")
    assert (wrong.status_code, Refusal.model_validate_json(wrong.content).errors[0].path) == (422, "labels")
    missing = served.ask({}, "plain", version=2)
    assert (missing.status_code, Refusal.model_validate_json(missing.content).reason) == (404, Reason.MISSING)
    stranger = httpx.post(f"{served.url}/models/generate", json={}, trust_env=False)
    assert (stranger.status_code, Refusal.model_validate_json(stranger.content).reason) == (401, Reason.STRANGER)


@pytest.mark.long
def test_plans_are_made_by_an_application_of_their_own(served: Served) -> None:
    question = PlanQuestion(spec=recipes()["gan-digits"](), world=1, device=cpu())
    headers = {TOKEN_HEADER: f"Bearer {TOKEN}", "content-type": "application/json"}
    body = question.model_dump_json()
    answer = httpx.post(f"{served.url}/plans", content=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    assert Plan.model_validate_json(answer.content).family == "gan"


def test_who_leaves_makes_room_for_who_stays(served: Served) -> None:
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            served.ask({"n": 1024, "seed": 1}, "classes", seconds=0.002)
    assert served.right(served.ask({"n": 2}, "plain"), {"n": 2}, "plain")


@pytest.mark.long
def test_a_killed_replica_is_an_error_at_worst_and_comes_back_by_itself(served: Served) -> None:
    assert served.ask({}, "plain").status_code == 200
    (before,) = served.replicas()
    questions, wrong, failed = _questions(150), [], []

    def one(asked: tuple[str, dict[str, Any]]) -> None:
        model, question = asked
        try:
            answer = served.ask(question, model)
        except httpx.HTTPError as error:
            failed.append(str(error))
            return
        if answer.status_code == 200 and not served.right(answer, question, model):
            wrong.append(asked)
        elif answer.status_code != 200:
            failed.append(f"{answer.status_code} {answer.text[:200]}")
            assert answer.status_code in (429, 500, 503)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(one, question) for question in questions[:40]]
        _until(lambda: sum(one.done() for one in asked) > 10)
        before.send_signal(signal.SIGKILL)
        asked += [pool.submit(one, question) for question in questions[40:]]
        for answered in asked:
            answered.result()
    assert not wrong
    assert len(failed) <= 16, failed  # those that it was at, and those sent before its end was known
    _until(lambda: served.ask({}, "plain").status_code == 200)
    assert before.pid not in [process.pid for process in served.replicas()]
    assert served.right(served.ask({"n": 3, "labels": 7}, "classes"), {"n": 3, "labels": 7}, "classes")


@pytest.mark.long
def test_without_questions_nothing_is_kept_and_the_next_one_is_answered(served: Served) -> None:
    question = {"n": 4, "seed": 11, "labels": 3}
    before = served.ask(question, "classes")
    _until(lambda: not served.replicas())
    after = served.ask(question, "classes")
    assert before.content == after.content
    assert served.right(after, question, "classes")
    assert len(served.replicas()) == 1
