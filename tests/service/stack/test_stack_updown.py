"""`up` and `down` with three small real servers in place of Ray, MLflow and the API: the same code, started in a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from service import local
from service.settings import Settings
from service.stack import record as records
from service.stack import starting
from service.stack.errors import PartFailed, PortsBusy, StackLocked
from service.stack.layout import Layout
from service.stack.parts import PORTS_OF, START_ORDER, Config, Part
from service.stack.ports import Ports
from service.stack.processes import PART_ENV, STACK_ENV, members

SERVER = """
import http.server, subprocess, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *a): pass
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""
DIES = "import sys; print('the reason why'); sys.exit(3)"
HANGS = "import time; time.sleep(300)"


class Parts:
    """Builds the three parts; `broken` names one that dies while it starts."""

    def __init__(self) -> None:
        self.broken = ""
        self.dies = 10**6
        """How many starts of the broken part die."""
        self.hangs = ""
        self.configs: list[Config] = []
        self.starts: list[str] = []

    def __call__(self, name: str, config: Config, stack_id: str) -> Part:
        self.configs.append(config)
        self.starts.append(name)
        port = getattr(config.ports, PORTS_OF[name][0])
        dies = name == self.broken and self.starts.count(name) <= self.dies
        script = DIES if dies else HANGS if name in self.hangs else SERVER
        env = {**os.environ, STACK_ENV: stack_id, PART_ENV: name}
        url = f"http://127.0.0.1:{port}"
        return Part(name, name, (sys.executable, "-c", script, str(port)), env, url, (url,))


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    built = Parts()
    monkeypatch.setattr(starting, "build", built)
    monkeypatch.setattr(local, "build", built)
    return built


@pytest.fixture
def config(tmp_path: Path, parts: Parts) -> Iterator[Config]:
    config = Config(Layout(tmp_path / "home"), Ports.free())
    yield config
    local.down(config.layout)


def _record(config: Config) -> records.StackRecord:
    found = records.read(config.layout.record)
    assert found is not None
    return found


def test_up_starts_all_parts_and_down_leaves_no_process(config: Config) -> None:
    seen: list[tuple[str, str]] = []
    done = local.up(config, lambda part, state, seconds: seen.append((part, state)))
    assert done.started == START_ORDER
    assert {part for part, state in seen if state == "ready"} == set(START_ORDER)
    assert local.status(config.layout).running
    assert len(members(done.record.stack_id)) == 6, "three parts and a child of each"
    assert local.down(config.layout) == 3
    assert members(done.record.stack_id) == []
    assert not config.layout.record.exists()
    assert local.down(config.layout) == 0


def test_a_second_up_changes_nothing(config: Config) -> None:
    first = local.up(config).record
    second = local.up(Config(config.layout, Ports(1, 2, 3, 4, 5)))
    assert second.started == ()
    assert second.record == first


def test_up_starts_again_only_what_has_died_on_the_same_port(config: Config) -> None:
    first = local.up(config).record
    psutil.Process(first.parts["mlflow"].pid).kill()
    deadline = time.monotonic() + 10
    while first.parts["mlflow"].alive and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [part.state for part in local.status(config.layout).parts] == ["running", "stopped", "running"]
    done = local.up(config)
    assert done.started == ("mlflow",)
    assert done.record.parts["api"] == first.parts["api"]
    assert done.record.parts["mlflow"].url == first.parts["mlflow"].url
    assert done.cleaned == 1, "the child that the killed part left behind"
    assert local.status(config.layout).running


def test_what_the_stack_was_started_with_comes_back_with_a_part(config: Config, parts: Parts) -> None:
    first = local.up(replace(config, host="127.0.0.2", cpus=3, data_roots=("/srv/images",))).record
    psutil.Process(first.parts["api"].pid).kill()
    deadline = time.monotonic() + 10
    while first.parts["api"].alive and time.monotonic() < deadline:
        time.sleep(0.05)
    parts.configs.clear()
    done = local.up(config)
    assert done.started == ("api",)
    (built,) = parts.configs
    assert (built.host, built.cpus, built.data_roots) == ("127.0.0.2", 3, ("/srv/images",))
    assert done.record.data_roots == ("/srv/images",)


def test_data_roots_are_kept_for_later_starts_until_they_are_forgotten(config: Config) -> None:
    """A job that was stopped with the stack goes on at the next start, and must find its data."""
    local.up(replace(config, data_roots=("/srv/images",)))
    local.down(config.layout)
    assert local.up(config).record.data_roots == ("/srv/images",)
    local.down(config.layout)
    assert local.up(replace(config, data_roots=("/srv/more",))).record.data_roots == ("/srv/images", "/srv/more")
    local.down(config.layout)
    assert local.up(replace(config, data_roots=("/srv/more",)), forget_roots=True).record.data_roots == ("/srv/more",)
    local.down(config.layout)
    assert local.up(config).record.data_roots == ("/srv/more",)


def test_a_data_root_is_added_to_a_stack_that_runs_by_a_new_start_of_the_api_alone(config: Config) -> None:
    first = local.up(replace(config, data_roots=("/srv/images",))).record
    done = local.up(replace(config, data_roots=("/srv/more",)))
    assert done.started == ("api",)
    assert done.record.data_roots == ("/srv/images", "/srv/more")
    assert done.record.parts["ray"] == first.parts["ray"]
    assert done.record.parts["api"].url == first.parts["api"].url
    assert local.status(config.layout).running
    assert local.up(replace(config, data_roots=("/srv/more",))).started == ()


def test_a_record_of_dead_processes_is_stale_even_if_their_pids_live_again(config: Config) -> None:
    first = local.up(config).record
    local.down(config.layout)
    reused = {
        name: part.model_copy(update={"pid": os.getpid(), "create_time": part.create_time - 1})
        for name, part in first.parts.items()
    }
    records.write(config.layout.record, first.model_copy(update={"parts": reused}))
    assert not local.status(config.layout).running
    assert local.down(config.layout) == 0, "this very process must not be signalled"
    records.write(config.layout.record, first.model_copy(update={"parts": reused}))
    assert local.up(config).started == START_ORDER


def test_busy_ports_are_all_reported_before_anything_starts(config: Config) -> None:
    with socket.socket() as api, socket.socket() as gcs:
        for held in (api, gcs):
            held.bind(("127.0.0.1", 0))
            held.listen()
        taken = Ports(api=api.getsockname()[1], mlflow=0, dashboard=0, gcs=gcs.getsockname()[1], serve=0)
        with pytest.raises(PortsBusy) as caught:
            local.up(Config(config.layout, taken))
    assert {item.name for item in caught.value.busy} == {"api", "gcs"}
    assert not config.layout.record.exists()


def test_a_part_that_dies_again_and_again_shows_its_log_and_what_is_ready_stays(config: Config, parts: Parts) -> None:
    parts.broken = "mlflow"
    with pytest.raises(PartFailed, match="the reason why") as caught:
        local.up(config)
    assert parts.starts.count("mlflow") == starting.TRIES
    assert f"ended with status 3 while starting, {starting.TRIES} times" in str(caught.value)
    assert "ray and api stay up: `agon up` starts what is missing, `agon down` stops the rest" in str(caught.value)
    assert [part.state for part in local.status(config.layout).parts] == ["running", "stopped", "running"]
    parts.broken = ""
    assert local.up(config).started == ("mlflow",)
    assert local.status(config.layout).running


def test_a_part_that_dies_once_is_started_again_and_the_others_hear_nothing_of_it(config: Config, parts: Parts) -> None:
    parts.broken, parts.dies = "ray", 1
    told: list[tuple[str, str]] = []
    local.up(config, lambda part, state, seconds: told.append((part, state)))
    assert sorted(parts.starts) == ["api", "mlflow", "ray", "ray"]
    assert any(part == "ray" and "starting it again (2 of 3)" in state for part, state in told)
    assert local.status(config.layout).running


def test_a_start_says_what_it_waits_for_and_a_part_that_is_never_ready_takes_no_other_with_it(
    config: Config, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr(starting, "TELL_SECONDS", 0.3)
    parts.hangs = "ray"
    told: list[tuple[str, str]] = []
    with pytest.raises(PartFailed, match="was not ready after 2 s"):
        local.up(config, lambda part, state, seconds: told.append((part, state)))
    assert any(part == "ray" and state.startswith("waiting for http://127.0.0.1:") for part, state in told)
    assert [part.state for part in local.status(config.layout).parts] == ["stopped", "running", "running"]


def test_if_no_part_can_be_started_nothing_is_left(
    config: Config, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "PATIENCE_SECONDS", 0.5)
    parts.hangs = "ray mlflow api"
    seen: list[str] = []
    with pytest.raises(PartFailed):
        local.up(config, lambda part, state, seconds: seen.append(_record(config).stack_id))
    assert members(seen[0]) == []
    assert not config.layout.record.exists()


def test_one_port_for_two_parts_is_refused_before_anything_starts(config: Config) -> None:
    with pytest.raises(PortsBusy, match=r"port 8701 \(mlflow\) is asked for by --api-port, too; .*--mlflow-port PORT"):
        local.up(Config(config.layout, Ports(8701, 8701, 0, 0, 0)))
    assert not config.layout.record.exists()


def test_a_failed_restart_of_one_part_leaves_the_others_running(config: Config, parts: Parts) -> None:
    first = local.up(config).record
    psutil.Process(first.parts["api"].pid).kill()
    deadline = time.monotonic() + 10
    while first.parts["api"].alive and time.monotonic() < deadline:
        time.sleep(0.05)
    parts.broken = "api"
    with pytest.raises(PartFailed):
        local.up(config)
    assert [part.state for part in local.status(config.layout).parts] == ["running", "running", "stopped"]


def test_an_interrupt_while_starting_leaves_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def interrupt(part: str, state: str, seconds: float) -> None:
        seen.append(_record(config).stack_id)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.up(config, interrupt)
    assert members(seen[0]) == []
    assert not config.layout.record.exists()


def _hold(home: str, ready: object) -> None:
    with local._locked(Layout(Path(home))):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(60)


def test_two_commands_do_not_start_one_stack_twice(config: Config) -> None:
    config.layout.create()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(str(config.layout.home), ready))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(StackLocked):
            local.up(config)
    finally:
        os.kill(holder.pid or 0, signal.SIGKILL)
        holder.join()
    assert local.up(config).started == START_ORDER, "the lock went with the process that held it"


def test_the_foreground_ends_when_a_part_dies_and_when_it_is_asked_to(config: Config) -> None:
    record = local.up(config).record
    asked = Event()
    happened: list[str | None] = []
    watcher = Thread(target=lambda: happened.append(local.supervise(config.layout, asked)))
    watcher.start()
    asked.set()
    watcher.join(10)
    assert happened == [None]
    psutil.Process(record.parts["ray"].pid).kill()
    assert local.supervise(config.layout, Event()) == "ray ended"
    local.down(config.layout)
    assert local.supervise(config.layout, Event()) == "the stack was stopped by another command"


def test_status_is_honest_about_a_part_that_runs_but_does_not_answer(config: Config) -> None:
    record = local.up(config).record
    process = psutil.Process(record.parts["api"].pid)
    process.suspend()
    try:
        states = {part.name: part.state for part in local.status(config.layout).parts}
    finally:
        process.resume()
    assert states == {"ray": "running", "mlflow": "running", "api": "unresponsive"}


def test_no_secret_is_on_a_command_line(tmp_path: Path) -> None:
    from service.stack.parts import build

    layout = Layout(tmp_path / "home")
    layout.create()
    secrets = {layout.token.read_text(), layout.ray_token.read_text()}
    for name in START_ORDER:
        part = build(name, Config(layout), "id")
        assert not any(secret in word for secret in secrets for word in (*part.command, *part.env.values()))


def test_the_stack_is_not_reachable_from_other_machines(tmp_path: Path) -> None:
    from service.stack.parts import build

    layout = Layout(tmp_path / "home")
    layout.create()
    for name in START_ORDER:
        command = build(name, Config(layout), "id").command
        assert "127.0.0.1" in command
        assert "0.0.0.0" not in command
    env = build("ray", Config(layout), "id").env
    assert env["RAY_AUTH_MODE"] == "token"
    assert env["RAY_AUTH_TOKEN_PATH"] == str(layout.ray_token)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.7.9", "fd00::7"])
def test_the_parts_find_each_other_where_the_environment_names_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    from service.stack.parts import build

    layout = Layout(tmp_path / "home")
    layout.create()
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "data.corp")
    for name in START_ORDER:
        env = build(name, Config(layout, host=host), "id").env
        assert {"127.0.0.1", "localhost", "::1", host, "data.corp"} == set(env["NO_PROXY"].split(","))
        assert (env["no_proxy"], env["HTTP_PROXY"]) == (env["NO_PROXY"], "http://proxy.example:3128")
    monkeypatch.delenv("HTTP_PROXY")
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert build("ray", Config(layout, host=host), "id").env["NO_PROXY"] == "data.corp"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8700"),
        ("192.168.7.9", "http://192.168.7.9:8700"),
        ("gpu.lab", "http://gpu.lab:8700"),
        ("fd00::7", "http://[fd00::7]:8700"),
        ("0.0.0.0", "http://127.0.0.1:8700"),
        ("::", "http://[::1]:8700"),
    ],
)
@pytest.mark.parametrize("allowed", ["", "front.lab"])
def test_the_api_is_probed_advertised_and_served_where_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, url: str, allowed: str
) -> None:
    from service.stack.parts import build

    monkeypatch.setenv("AGON_ALLOWED_HOSTS", allowed)
    layout = Layout(tmp_path / "home")
    layout.create()
    part = build("api", Config(layout, host=host), "id")
    assert part.command[part.command.index("--host") + 1] == host
    assert (part.url, part.probes, part.env["AGON_API_URL"]) == (url, (f"{url}/healthz",), url)
    for name, value in part.env.items():
        monkeypatch.setenv(name, value)
    hosts = Settings().allowed_hosts
    assert urlsplit(url).hostname in hosts
    assert (allowed in hosts) == bool(allowed)


@pytest.mark.long
def test_the_api_answers_on_an_address_that_is_not_127_0_0_1(tmp_path: Path) -> None:
    from service.stack.parts import build

    layout = Layout(tmp_path / "home")
    layout.create()
    part = build("api", Config(layout, Ports.free().resolved(), host="127.0.0.2"), "id")
    server = subprocess.Popen(part.command, env={**part.env, "AGON_RECONCILER": "false"}, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not part.ready() and time.monotonic() < deadline:
            assert server.poll() is None
            time.sleep(0.2)
        assert part.ready()
        refused = httpx.get(f"{part.url}/v1/jobs", trust_env=False)
        assert refused.status_code == 401, "400 would mean that this host name isn't served"
    finally:
        server.kill()
        server.wait()


def test_importing_the_stack_is_cheap() -> None:
    script = "import sys, service.local; assert not {'ray', 'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
