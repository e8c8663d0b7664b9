"""The fakes do what the real Ray and the real MLflow do: each promise is checked on both."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import torch
from embedded import CPUS, Stack
from forked import free_port

from service.gateway.fake_ray import FakeRay
from service.gateway.fake_registry import FakeRegistry
from service.gateway.notes import Note
from service.gateway.ray_jobs import (
    HttpRayJobs,
    RayAwayError,
    RayFailedError,
    RayJob,
    RayJobs,
    RayRefusedError,
    RayStatus,
    RayUnreachableError,
)
from service.gateway.registry import (
    HttpRegistry,
    Registry,
    RegistryMissingError,
    RegistryRefusedError,
    RegistryUnreachableError,
    Version,
)

on_the_stack = (pytest.mark.system, pytest.mark.xdist_group("stack"))
both_rays = pytest.mark.parametrize("kind", ["fake", pytest.param("real", marks=on_the_stack)])
both_rays_long = pytest.mark.parametrize(
    "kind", ["fake", pytest.param("real", marks=[*on_the_stack, pytest.mark.long])]
)
"""Each job of the real one takes a process and its start."""


def _until(check: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except (RayUnreachableError, httpx.HTTPError):
            pass
        time.sleep(0.2)
    pytest.fail(f"{what} did not happen in {seconds} s")


@pytest.fixture
def ray_head(stack: Stack) -> tuple[str, Path]:
    """A real Ray head with token authentication: dashboard URL and token file."""
    return stack.ray, stack.layout.ray_token


@pytest.fixture
def ray(request: pytest.FixtureRequest, kind: str) -> Iterator[RayJobs]:
    if kind == "fake":
        yield FakeRay(cpus=CPUS)
        return
    gateway = HttpRayJobs(*request.getfixturevalue("ray_head"))
    yield gateway
    gateway.close()


@pytest.fixture
def name() -> str:
    """A submission id that nobody used."""
    return f"agon-j-{secrets.token_hex(4)}-1"


def _status(ray: RayJobs, name: str) -> RayStatus:
    found = ray.status(name)
    assert found is not None
    return found.status


def _finish(ray: RayJobs, name: str, status: RayStatus, output: str = "", exit_code: int | None = None) -> RayJob:
    """Wait for the real one; tell the fake one."""
    if isinstance(ray, FakeRay):
        ray.output[name] = output
        ray.move(name, status, exit_code=exit_code)
    _until(lambda: _status(ray, name) is status, f"{name} {status}")
    found = ray.status(name)
    assert found is not None
    return found


@both_rays
def test_a_job_runs_and_its_log_is_there_when_it_has_ended(ray: RayJobs, name: str) -> None:
    ray.submit(name, "echo hello from the driver", {"agon_job": "j"})
    assert _finish(ray, name, RayStatus.SUCCEEDED, "hello from the driver\n").status.ended
    assert "hello from the driver" in (ray.logs(name) or "")
    assert name in [job.submission_id for job in ray.submissions()]


@both_rays_long
def test_submitting_the_same_id_again_is_success_and_starts_nothing(ray: RayJobs, name: str, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    for _ in range(3):
        ray.submit(name, f"echo started >> {marks}", {})
    _finish(ray, name, RayStatus.SUCCEEDED)
    ray.submit(name, f"echo started >> {marks}", {})
    assert _status(ray, name) is RayStatus.SUCCEEDED
    started = ray.starts.count(name) if isinstance(ray, FakeRay) else marks.read_text().count("started")
    assert started == 1


@both_rays
def test_an_unknown_job_has_no_status_and_no_log_and_stopping_it_is_success(ray: RayJobs, name: str) -> None:
    assert ray.status(name) is None
    assert ray.logs(name) is None
    ray.stop(name)


@both_rays_long
def test_a_failed_driver_shows_its_exit_code(ray: RayJobs, name: str) -> None:
    ray.submit(name, "echo dying; exit 3", {})
    job = _finish(ray, name, RayStatus.FAILED, "dying\n", exit_code=3)
    assert job.exit_code == 3
    assert "dying" in (ray.logs(name) or "")


@both_rays
def test_a_stopped_job_ends_and_stopping_it_again_is_success(ray: RayJobs, name: str) -> None:
    ray.submit(name, "sleep 600", {})
    if not isinstance(ray, FakeRay):
        _until(lambda: _status(ray, name) is RayStatus.RUNNING, "the start")
    ray.stop(name)
    _until(lambda: _status(ray, name) is RayStatus.STOPPED, "the stop")
    ray.stop(name)
    assert _status(ray, name) is RayStatus.STOPPED


@both_rays
def test_the_cluster_tells_its_nodes_and_what_is_free(ray: RayJobs) -> None:
    nodes = ray.nodes()
    gpus = 0 if isinstance(ray, FakeRay) else torch.cuda.device_count()
    assert [(node.cpus, node.gpus) for node in nodes] == [(CPUS, gpus)]
    assert 0.0 <= nodes[0].cpus_free <= 2.0


@pytest.mark.system
@pytest.mark.xdist_group("stack")
@pytest.mark.parametrize("token", ["wrong" * 10, None])
def test_a_wrong_or_missing_token_is_told_as_such(
    ray_head: tuple[str, Path], tmp_path: Path, token: str | None
) -> None:
    path = tmp_path / "token"
    if token:
        path.write_text(token)
    gateway = HttpRayJobs(ray_head[0], path)
    for call in (gateway.ping, gateway.nodes, lambda: gateway.status("x"), lambda: gateway.submit("x", "true", {})):
        with pytest.raises(RayUnreachableError, match="refuses the token") as caught:
            call()
        assert not token or token not in str(caught.value)
    gateway.close()


@pytest.mark.parametrize("answer", ["nothing", "garbage"])
def test_a_ray_that_does_not_answer_as_ray_does_is_unreachable(tmp_path: Path, answer: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen() if answer == "garbage" else None
        gateway = HttpRayJobs(f"http://127.0.0.1:{server.getsockname()[1]}", tmp_path / "none", timeout=0.5)
        for call in (gateway.ping, gateway.nodes, lambda: gateway.status("x"), lambda: gateway.stop("x")):
            with pytest.raises(RayAwayError, match="can't be reached") as caught:
                call()
            assert caught.value.nobody == (answer == "nothing")
        gateway.close()


# -- what a submission is answered with: as ray 2.60 words it (`job_head.py`, `job_agent.py`)

TRACE = 'Traceback (most recent call last):\n  File "job_head.py", line 419, in submit_job\n'
BY_AGENT = TRACE + "RuntimeError: Request failed with status code {}: {}."
AGENT_TRACE = 'Traceback (most recent call last):\n  File "job_agent.py", line 45, in submit_job\n'
OWN = "UnicodeEncodeError: 'ascii' codec can't encode character '\\xf6' in position 25: ordinal not in range(128)"


class Answering:
    """A head that answers every submission so, and knows no job unless it was told of one."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text, self.known = status, text, False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._reply(outer.status, outer.text)

            def do_GET(self) -> None:
                job = {"submission_id": "x", "status": "PENDING"}
                self._reply(200, json.dumps(job)) if outer.known else self._reply(404, "does not exist")

            def _reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def gateway(self) -> HttpRayJobs:
        return HttpRayJobs(self.url)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], Answering]]:
    made: list[Answering] = []

    def make(status: int, text: str) -> Answering:
        made.append(Answering(status, text))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("kind", ["fake", "real"])
def test_an_error_of_rays_own_and_a_refusal_are_told_with_its_words_unless_it_has_the_job(
    answering: Callable[[int, str], Answering], kind: str
) -> None:
    head = answering(500, BY_AGENT.format(500, AGENT_TRACE + OWN + "\n"))
    fake = FakeRay()
    fake.fail = OWN
    ray: RayJobs = fake if kind == "fake" else head.gateway()
    with pytest.raises(RayFailedError, match="UnicodeEncodeError: 'ascii' codec"):
        ray.submit("x", "true", {})
    assert ray.status("x") is None
    head.text, fake.fail, fake.refuse = BY_AGENT.format(400, AGENT_TRACE + "TypeError: odd\n"), "", "TypeError: odd"
    with pytest.raises(RayRefusedError, match="TypeError: odd"):
        ray.submit("x", "true", {})
    fake.refuse = ""
    fake.submit("x", "true", {})
    head.known, fake.fail = True, OWN
    head.text = BY_AGENT.format(500, AGENT_TRACE + OWN + "\n")
    ray.submit("x", "true", {})
    ray.close()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, "No available agent to submit job, please try again later."),
        (500, BY_AGENT.format(503, "Service Unavailable")),
        (500, BY_AGENT.format(502, "<html>\n<h1>Bad Gateway</h1>\n</html>")),
        (500, BY_AGENT.format(500, AGENT_TRACE + "ConnectionError: Could not find any running Ray instance.\n")),
        (500, TRACE + "aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host 127.0.0.1:52365"),
        (500, TRACE + "aiohttp.client_exceptions.ServerDisconnectedError: Server disconnected"),
        (500, TRACE + "ConnectionResetError: [Errno 104] Connection reset by peer"),
        (503, "the dashboard is starting"),
        (502, "<html>a proxy</html>"),
        (404, "404: Not Found"),
    ],
)
def test_a_ray_whose_parts_are_away_or_still_start_is_unreachable_not_in_error(
    answering: Callable[[int, str], Answering], status: int, text: str
) -> None:
    gateway = answering(status, text).gateway()
    with pytest.raises(RayUnreachableError, match=f"answered {status}"):
        gateway.submit("x", "true", {})
    gateway.close()


# -- the registry


EXPERIMENT = "contracts"


class RealRegistry(HttpRegistry):
    """With what only tests and jobs do: adding records and versions."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.places: dict[str, str] = {}

    def track(self, run_id: str) -> str:
        """A record of a job."""
        api = f"{self.uri}/api/2.0"
        reply = httpx.get(f"{api}/mlflow/experiments/get-by-name", params={"experiment_name": EXPERIMENT})
        if reply.is_success:
            experiment = reply.json()["experiment"]["experiment_id"]
        else:
            made = httpx.post(f"{api}/mlflow/experiments/create", json={"name": EXPERIMENT})
            experiment = made.json()["experiment_id"]
        body = {"experiment_id": experiment, "tags": [{"key": "agon.job_id", "value": run_id}]}
        body["run_name"] = f"small-{run_id}"
        info = httpx.post(f"{api}/mlflow/runs/create", json=body).json()["run"]["info"]
        self.places[info["run_id"]] = info["artifact_uri"]
        return str(info["run_id"])

    def tags(self, record: str) -> dict[str, str]:
        """What a record says."""
        run = self._call("GET", "runs/get", params={"run_id": record})["run"]
        return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}

    def keep(self, record: str) -> None:
        """A file of its."""
        path = urlsplit(self.places[record]).path
        url = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts{path}/model/file"
        httpx.put(url, content=b"a model").raise_for_status()

    def upload(self, version: Version, files: Mapping[str, bytes]) -> None:
        """The files of a version."""
        path = urlsplit(version.source).path
        for name, content in files.items():
            url = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts{path}/{name}"
            httpx.put(url, content=content).raise_for_status()

    def add(self, name: str, tags: dict[str, str] | None = None, record: str = "") -> None:
        """Register one more version."""
        api = f"{self.uri}/api/2.0/mlflow"
        httpx.post(f"{api}/registered-models/create", json={"name": name}, trust_env=False)
        pairs = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        source = f"{self.places[record]}/model" if record else f"s3://nowhere/{name}"
        body = {"name": name, "source": source, "run_id": record, "tags": pairs}
        reply = httpx.post(f"{api}/model-versions/create", json=body, trust_env=False)
        assert reply.is_success, reply.text


@pytest.fixture
def registry(request: pytest.FixtureRequest, kind: str) -> Iterator[FakeRegistry | RealRegistry]:
    found = FakeRegistry() if kind == "fake" else RealRegistry(request.getfixturevalue("stack").mlflow)
    yield found
    found.close()


@pytest.fixture
def model() -> str:
    """A model name that nobody used."""
    return f"m-{secrets.token_hex(4)}"


@both_rays
def test_versions_come_newest_first_with_tags_and_aliases_page_by_page(
    registry: FakeRegistry | RealRegistry, model: str
) -> None:
    for index in range(3):
        registry.add(model, {"fid": str(index)})
    registry.set_alias(model, "champion", "2")
    assert registry.model(model).aliases == {"champion": "2"}
    assert (registry.version(model, "2").version, registry.version(model, "2").tags) == ("2", {"fid": "1"})
    with pytest.raises(RegistryMissingError):
        registry.version(model, "9")
    first, cursor = registry.versions(model, 2, None)
    assert [(item.version, item.aliases, item.tags) for item in first] == [
        ("3", (), {"fid": "2"}),
        ("2", ("champion",), {"fid": "1"}),
    ]
    rest, end = registry.versions(model, 2, cursor)
    assert ([item.version for item in rest], end) == (["1"], None)
    assert first[0].created > 0
    assert first[0].status == "READY"


@both_rays
def test_the_files_of_a_version_are_listed_and_read(registry: FakeRegistry | RealRegistry, model: str) -> None:
    registry.add(model, record=registry.track(f"j-{secrets.token_hex(6)}"))
    registry.add(model)
    files = {"MLmodel": b"x" * 20, "code/deep/a b.py": b"", "model.safetensors": secrets.token_bytes(3 << 20)}
    registry.upload(registry.version(model, "1"), files)
    version = registry.version(model, "1")
    listed = registry.files(version)
    assert [(file.path, file.size) for file in listed] == [(name, len(files[name])) for name in sorted(files)]
    for name, content in files.items():
        assert b"".join(registry.read(version, name)) == content, name
    with pytest.raises((RegistryMissingError, RegistryUnreachableError)):
        b"".join(registry.read(version, "none"))
    with pytest.raises(RegistryRefusedError, match="of no record"):
        registry.files(registry.version(model, "2"))


@both_rays
def test_models_come_by_name_page_by_page(registry: FakeRegistry | RealRegistry, model: str) -> None:
    for suffix in ("b", "a", "c"):
        registry.add(f"{model}-{suffix}")
    names: list[str] = []
    cursor = None
    while True:
        found, cursor = registry.models(2, cursor)
        names += [item.name for item in found if item.name.startswith(model)]
        if cursor is None:
            break
    assert names == [f"{model}-a", f"{model}-b", f"{model}-c"]


@both_rays
def test_an_alias_moves_and_must_point_at_a_version(registry: FakeRegistry | RealRegistry, model: str) -> None:
    registry.add(model)
    registry.add(model)
    for version in ("1", "2"):
        registry.set_alias(model, "champion", version)
        assert registry.model(model).aliases == {"champion": version}
    with pytest.raises(RegistryMissingError):
        registry.set_alias(model, "champion", "9")
    for reserved in ("latest", "v1"):
        with pytest.raises(RegistryRefusedError):
            registry.set_alias(model, reserved, "1")


@both_rays
def test_an_unknown_model_is_missing(registry: Registry, model: str) -> None:
    for call in (lambda: registry.model(model), lambda: registry.versions(model, 5, None)):
        with pytest.raises(RegistryMissingError):
            call()


@both_rays
def test_records_of_a_run_are_found_by_its_id_and_go_but_for_what_a_version_stands_on(
    registry: FakeRegistry | RealRegistry, model: str
) -> None:
    run = f"s-{secrets.token_hex(6)}"
    own, trial, published, others = (
        registry.track(name) for name in (run, f"{run}-t-00000", f"{run}-best-t-00000-9", f"{run}0")
    )
    registry.add(model, record=published)
    assert sorted(registry.records(own, run)) == sorted([own, trial, published])
    assert registry.records("f" * 32, f"s-{secrets.token_hex(6)}") == []
    (standing,) = registry.standing_on([own, trial, published])
    assert (standing.model, standing.version, standing.record) == (model, "1", published)
    assert registry.standing_on([own, others]) == registry.standing_on([]) == []
    for record in (trial, own):
        registry.delete_record(record)
        registry.delete_record(record)
    registry.delete_record("f" * 32)
    assert registry.records(own, run) == [published], "also once its own is gone"
    assert registry.records(others, f"{run}0") == [others]


@both_rays
def test_a_record_says_what_was_noted_last_and_keeps_what_is_not_a_label(
    registry: FakeRegistry | RealRegistry,
) -> None:
    run = f"j-{secrets.token_hex(6)}"
    record = registry.track(run)
    registry.note(record, Note(run, 1, "first", {"team": "vision", "old": "x"}, "why\nnot"))
    registry.note(record, Note(run, 3, "renamed", {"team": "sound"}, None))
    told = {name: value for name, value in registry.tags(record).items() if name != "agon.job_id"}
    known = {"agon.label.team": "sound", "mlflow.note.content": "why\nnot", "agon.noted": "3"}
    assert told == {**known, "mlflow.runName": f"renamed-{run}"}
    registry.note(record, Note(run, 2, "late", {"team": "late"}, "late"))
    assert registry.tags(record)["agon.label.team"] == "sound", "what comes late is older"
    registry.note(record, Note(run, 4, notes=""))
    assert "mlflow.note.content" not in registry.tags(record)
    with pytest.raises(RegistryMissingError):
        registry.note("f" * 32, Note(run, 5, "nobody"))
    registry.delete_record(record)
    with pytest.raises(RegistryMissingError):
        registry.note(record, Note(run, 6, "nobody"))


@both_rays
def test_a_page_token_of_nobody_is_refused(registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError):
        registry.models(5, "nonsense")


@pytest.mark.system
@pytest.mark.xdist_group("stack")
def test_artifacts_are_deleted_in_a_store_below_any_path(stack: Stack) -> None:
    """Home has a space, a % and a question mark in its path; MLflow reads the path of its store as a URL's, and twice."""
    registry, run = RealRegistry(stack.mlflow), f"j-{secrets.token_hex(6)}"
    record = registry.track(run)
    registry.keep(record)
    store = stack.layout.mlflow / "artifacts"
    assert list(store.rglob(f"{record}/artifacts/model/file"))
    registry.delete_record(record)
    assert list(store.rglob(f"{record}/artifacts/model/file")) == []
    assert registry.records(record, run) == []
    registry.close()


def test_an_mlflow_that_does_not_delete_artifacts_is_told_and_the_record_stays() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if request.url.path.endswith("runs/get"):
            info = {"lifecycle_stage": "active", "artifact_uri": "mlflow-artifacts:/7/a/artifacts"}
            return httpx.Response(200, json={"run": {"info": info}})
        return httpx.Response(200, json={"files": [{"path": "model"}]} if request.method == "GET" else {})

    registry = HttpRegistry("http://mlflow")
    registry._client = httpx.Client(base_url="http://mlflow", transport=httpx.MockTransport(answer))
    with pytest.raises(RegistryRefusedError, match="did not delete the artifacts of a; delete /7/a/artifacts"):
        registry.delete_record("a")
    assert asked == ["GET", "DELETE", "GET"], "it says that it has, and the record isn't deleted"


def test_artifacts_go_before_the_record_and_only_where_mlflow_keeps_them() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path.removeprefix('/api/2.0/')}")
        record = request.url.params.get("run_id", "")
        place = {"a": "mlflow-artifacts:/7/a/artifacts", "b": "s3://bucket/7/b/artifacts"}.get(record, "")
        info = {"lifecycle_stage": "active", "artifact_uri": place}
        return httpx.Response(200, json={"run": {"info": info}} if request.url.path.endswith("runs/get") else {})

    registry = HttpRegistry("http://mlflow")
    registry._client = httpx.Client(base_url="http://mlflow", transport=httpx.MockTransport(answer))
    for record in "ab":
        registry.delete_record(record)
    assert asked == [
        "GET mlflow/runs/get", "DELETE mlflow-artifacts/artifacts/7/a/artifacts", "GET mlflow-artifacts/artifacts",
        "POST mlflow/runs/delete", "GET mlflow/runs/get", "POST mlflow/runs/delete",
    ]  # fmt: skip


def test_an_mlflow_that_is_away_is_unreachable_and_its_password_is_not_told() -> None:
    port = free_port()
    registry = HttpRegistry(f"http://user:hunter2@127.0.0.1:{port}")
    for call in (registry.ping, lambda: registry.models(5, None)):
        with pytest.raises(RegistryUnreachableError) as caught:
            call()
        assert "hunter2" not in str(caught.value)
    registry.close()
