"""What can be checked of the images without a daemon: sources exist, commands exist, nothing runs as root, secrets are files."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LOCK = (ROOT / "requirements.lock").read_text().splitlines()
requirements = runpy.run_path(str(ROOT / "docker" / "dependencies.py"))["requirements"]


def _stages() -> dict[str, str]:
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_file_that_is_copied_exists_and_reaches_the_build() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            within = {source, *map(str, Path(source).parents)}
            assert allowed & within, f"{source} is kept out by .dockerignore"


def test_the_images_with_the_page_have_its_packages_as_they_are_locked() -> None:
    stages = _stages()
    assert "COPY --from=page /opt/agon/vendor service/web/vendor\n" in stages["wheel"]
    for stage in ("control", "trainer"):
        assert "COPY --from=wheel /opt/agon/dist dist\n" in stages[stage]
    assert "service/web/package-lock.json" in stages["page"]
    locked = json.loads((ROOT / "service/web/package-lock.json").read_text())["packages"]
    assert all(one["integrity"].startswith("sha512-") for name, one in locked.items() if name)
    assert not any("resolved" in one for one in locked.values()), "the lock names a host"


def test_the_base_image_is_pinned_to_a_patch_release() -> None:
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    images = [service["image"] for service in SERVICES.values() if not service["image"].startswith("agon-")]
    assert all(re.search(r":\d+\.\d+", image) for image in images), images


@pytest.mark.parametrize("stage", ["control", "trainer", "mlflow"])
def test_an_image_does_not_run_as_root_and_installs_the_locked_versions(stage: str) -> None:
    text = _stages()[stage]
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] == "10001:10001", (
        "by number: Kubernetes can't look up a name"
    )
    assert re.findall(r"pip install -r \S+( -c requirements\.lock)?", text)[-1]
    assert "HEALTHCHECK" in text


def test_the_lock_has_all_that_the_images_ask_for() -> None:
    """Also what few here have installed, the clients of buckets and what these need: an image is the same whenever it is built."""
    locked = {canonicalize_name(line.split("==")[0]) for line in LOCK if "==" in line}
    assert all(re.fullmatch(r"[\w.-]+==[\w.+-]+", line) for line in LOCK if not line.startswith("#"))
    asked = [line for name in ("control", "mlflow") for line in _asked(f"{name}-requirements.txt")]
    asked += requirements(ROOT / "pyproject.toml", ["s3", "gcs", "postgres", "otel"])
    names = {canonicalize_name(Requirement(line).name) for line in asked} | {"hatchling"}
    needed = {"aiobotocore", "botocore", "google-cloud-storage", "flask-wtf", "hatchling"}
    assert names - {"agon"} | needed <= locked


def test_a_change_of_code_installs_nothing_anew() -> None:
    """What is installed comes from layers that no code is in; code comes as a wheel, after them."""
    for name, text in _stages().items():
        installs = [place.start() for place in re.finditer(r"pip install -r", text)]
        code = [place.start() for place in re.finditer(r"^COPY (?:trainer|service|--from=wheel)", text, re.MULTILINE)]
        assert not code or not installs or max(installs) < min(code), name


def test_no_registry_is_named_and_an_index_of_torch_stands_alone(tmp_path: Path) -> None:
    """One that can't be reached fails the build: another index would give another build of torch without a word."""
    assert not re.search(r"https?://(?!127\.0\.0\.1)", DOCKERFILE)
    (line,) = re.findall(r"^RUN (grep '\^torch==' .+?[^\\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)
    calls = tmp_path / "calls"
    (tmp_path / "pip").write_text(f'#!/bin/sh\necho "$*" >> {calls}\n')
    (tmp_path / "pip").chmod(0o755)
    (tmp_path / "requirements.lock").write_text("torch==2.0.0\ntorchvision==1.0.0\n")
    for index, words in {
        "http://127.0.0.1:1/cpu": "--isolated install --no-cache-dir --no-deps --index-url http://127.0.0.1:1/cpu -r torch.txt",
        "": "install --no-deps -r torch.txt",
    }.items():
        calls.unlink(missing_ok=True)
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TORCH_INDEX": index}
        subprocess.run(["sh", "-c", line], check=True, cwd=tmp_path, env=env)
        assert calls.read_text().splitlines() == [words]
        assert (tmp_path / "torch.txt").read_text() == "torch==2.0.0\n"


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([_tool("hadolint"), ROOT / "docker" / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("stage", ["control", "trainer", "mlflow"])
def test_an_image_says_what_it_is_and_that_costs_no_layer_of_others(stage: str) -> None:
    """The labels come last: another revision makes nothing else anew."""
    text = _stages()[stage]
    for key, value in {
        "title": f"agon-{stage}",
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "source": "${SOURCE}",
    }.items():
        assert f'org.opencontainers.image.{key}="{value}"' in text
    last = [line.split()[0] for line in text.strip().splitlines() if re.match(r"[A-Z]+ ", line)][-2:]
    assert last == ["ARG", "LABEL"]
    assert not re.search(r"^ARG \S+ ", DOCKERFILE, re.MULTILINE), "buildah takes the first of a line alone"


def _tool(name: str) -> str:
    """A command of the environment that runs this."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert found is not None, f"there is no {name} here; make setup"
    return found


def _asked(file: str) -> list[str]:
    return [line for line in (ROOT / "docker" / file).read_text().splitlines() if line[:1].isalpha()]


@pytest.mark.long
def test_the_control_plane_runs_without_what_its_image_leaves_out(tmp_path: Path) -> None:
    """The API, the reconciler, migrations and reading a manifest, in a process where the rest can't be imported."""
    script = """
import sys
THERE = set(sys.argv[2].split(","))
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in OF and not THERE & {one.lower().replace("_", "-") for one in OF[top]}:
            raise ImportError(f"{name} is not in the control image")
from importlib.metadata import packages_distributions
OF = packages_distributions()
sys.meta_path.insert(0, Refuse())
from service.app import create_app
from service.settings import Settings
import service.reconciler.__main__, service.db.migrate, service.cli.app, service.local
from trainer.data.manifest import read_manifest
from fastapi.testclient import TestClient
with TestClient(create_app(Settings(home=sys.argv[1], reconciler=False))) as client:
    assert client.get("/healthz").status_code == 200
    token = open(sys.argv[1] + "/token").read().strip()
    answer = client.post("/v1/validate", json={"recipe": "dcgan-digits"}, headers={"Authorization": f"Bearer {token}", "Host": "localhost"})
    assert answer.status_code == 200, answer.text
"""
    home = str(tmp_path / "home")
    # httpx2 is for the client of this test alone
    there = ",".join(_closure("control-requirements.txt", "httpx2") | {"agon"})
    done = subprocess.run([sys.executable, "-c", script, home, there], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def _closure(file: str, *more: str) -> set[str]:
    """The packages that pip installs for these, of those that are here."""
    asked = [Requirement(line) for line in _asked(file)]
    asked += map(Requirement, more)
    found: set[str] = set()
    while asked:
        one = asked.pop()
        name = canonicalize_name(one.name)
        extras = {"", *one.extras}
        try:
            needs = [Requirement(line) for line in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue  # an extra of ours that nobody installed
        new = name not in found
        found.add(name)
        wanted = [
            need
            for need in needs
            if need.marker is None or any(need.marker.evaluate({"extra": each}) for each in extras)
        ]
        asked += [need for need in wanted if new or canonicalize_name(need.name) not in found]
    return found


def test_services_use_the_targets_secrets_and_volumes_that_exist() -> None:
    stages = _stages()
    for name, service in SERVICES.items():
        if "build" in service:
            assert service["build"]["target"] in stages, name
            assert (ROOT / "docker" / service["build"]["context"]).resolve() == ROOT
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"]), name
        assert {mount.split(":")[0] for mount in service.get("volumes", ())} <= set(COMPOSE["volumes"]), name
        assert {config["source"] for config in service.get("configs", ())} <= set(COMPOSE["configs"]), name
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        for needed, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                healthy = "healthcheck" in SERVICES[needed] or (
                    "HEALTHCHECK --" in stages[SERVICES[needed]["build"]["target"]]
                )
                assert healthy, f"{name} waits for {needed}, which has no health check"


def test_only_loopback_is_published_and_never_ray() -> None:
    """But for the proxy, which is there if it is asked for."""
    assert SERVICES["proxy"]["profiles"] == ["tls"]
    for name, service in SERVICES.items():
        if name == "proxy":
            continue
        ports = service.get("ports", ())
        assert all(port.startswith("127.0.0.1:") for port in ports), name
        assert not (name.startswith("ray") and ports)


def test_ray_asks_for_the_token_everywhere() -> None:
    for name in ("ray-head", "ray-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN_PATH"] == SERVICES["api"]["environment"]["AGON_RAY_TOKEN_FILE"]


def test_no_service_writes_outside_its_volumes_has_rights_or_fills_the_disk_with_logs() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert set(service.get("cap_add", ())) <= {"NET_BIND_SERVICE"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert service.get("user", "10001:10001") != "root", name
        places = [entry.split(":")[0] for entry in service["tmpfs"]] + [
            one.split(":")[1] for one in service.get("volumes", ())
        ]
        assert len(places) == len(set(places)), name
        if "build" in service and service["build"]["target"] != "mlflow":
            assert "/var/lib/agon" in places, f"{name} has no home to write to"


def test_training_runs_on_workers_which_offer_no_more_than_they_have() -> None:
    head, worker = SERVICES["ray-head"], SERVICES["ray-worker"]
    assert "--num-cpus=0" in head["command"]
    offered = next(word.partition("=")[2] for word in worker["command"] if word.startswith("--num-cpus="))
    assert worker["deploy"]["resources"]["limits"]["cpus"] == offered
    for node in (head, worker):
        assert node["deploy"]["resources"]["limits"]["memory"]
        held = int(
            next(word.partition("=")[2] for word in node["command"] if word.startswith("--object-store-memory="))
        )
        assert held < int(node["shm_size"].removesuffix("gb")) * 2**30, "Ray would keep objects on a disk"


def test_a_node_that_stops_has_longer_than_its_jobs() -> None:
    for name in ("ray-head", "ray-worker"):
        wait = int(SERVICES[name]["environment"]["RAY_JOB_STOP_WAIT_TIME_S"])
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > wait
    (hook,) = SERVICES["ray-worker"]["pre_stop"]
    assert hook["command"][:3] == ["python", "-m", "trainer.launch.leave"]


def test_the_workers_get_the_gpus_that_the_other_file_gives() -> None:
    gpu = yaml.safe_load((ROOT / "docker" / "compose.gpu.yaml").read_text())["services"]
    assert set(gpu) == {"ray-worker"}
    (devices,) = gpu["ray-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_whoever_reads_or_writes_a_bucket_has_its_keys() -> None:
    for name in ("api", "mlflow", "ray-head", "ray-worker"):
        assert "aws-credentials" in SERVICES[name]["secrets"], name
        environment = SERVICES[name]["environment"]
        assert environment["AWS_SHARED_CREDENTIALS_FILE"] == "/run/secrets/aws-credentials"
        assert environment["AWS_ENDPOINT_URL"] is None, "as the shell has it, and unset where it has none"


def test_the_settings_that_are_set_exist() -> None:
    from service.settings import Settings

    known = {f"AGON_{name.upper()}" for name in Settings.model_fields}
    known |= {"AGON_TAG", "AGON_HOST", "AGON_TLS", "AGON_TLS_PORT", "AGON_UPSTREAM"}  # compose's own
    known |= {"AGON_WORKER_CPUS", "AGON_WORKER_MEMORY", "AGON_HEAD_MEMORY"}
    text = (
        DOCKERFILE + (ROOT / "docker" / "compose.yaml").read_text() + (ROOT / "k8s/base/kustomization.yaml").read_text()
    )
    used = set(re.findall(r"AGON_[A-Z_]+", text))
    assert used <= known, used - known


def test_secrets_are_random_private_and_made_once(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((ROOT / "docker" / "secrets.sh").read_bytes())
    subprocess.run(["sh", str(script)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    keys = made.pop("aws-credentials")
    assert all(line.startswith("#") for line in keys.splitlines()), "nobody's keys"
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    subprocess.run(["sh", str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == {
        **made,
        "aws-credentials": keys,
    }


def test_secrets_are_not_committed() -> None:
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
