"""What can be checked of the images without a daemon: sources exist, commands exist, nothing runs as root, secrets are files."""

from __future__ import annotations

import json
import re
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
    for stage in ("control", "trainer"):
        assert "COPY --from=page /opt/agon/vendor service/web/vendor\n" in stages[stage]
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
    assert re.findall(r"^USER (\w+)$", text, re.MULTILINE)[-1] == "agon"
    installs = re.findall(r"^RUN pip install (.+?)(?<!\\)$", text, re.MULTILINE | re.DOTALL)
    assert any("-c requirements.lock" in install for install in installs)
    assert "HEALTHCHECK" in text


def test_the_lock_has_all_that_the_small_images_ask_for() -> None:
    locked = {
        line.split("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    }
    unpinned = {"boto3"}  # a range in the file itself
    for name in ("control-requirements.txt", "mlflow-requirements.txt"):
        for line in (ROOT / "docker" / name).read_text().splitlines():
            if line and not line.startswith("#"):
                package = re.split(r"[\[<>=]", line)[0].lower()
                assert package in locked | unpinned, package


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
    asked = [Requirement(line) for line in (ROOT / "docker" / file).read_text().splitlines() if line[:1].isalpha()]
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
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        for needed, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                healthy = (
                    "healthcheck" in SERVICES[needed] or "HEALTHCHECK --" in stages[SERVICES[needed]["build"]["target"]]
                )
                assert healthy, f"{name} waits for {needed}, which has no health check"


def test_only_loopback_is_published_and_never_ray() -> None:
    for name, service in SERVICES.items():
        ports = service.get("ports", ())
        assert all(port.startswith("127.0.0.1:") for port in ports), name
        assert not (name.startswith("ray") and ports)


def test_ray_asks_for_the_token_everywhere() -> None:
    for name in ("ray-head", "ray-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN_PATH"] == SERVICES["api"]["environment"]["AGON_RAY_TOKEN_FILE"]


def test_the_settings_that_are_set_exist() -> None:
    from service.settings import Settings

    known = {f"AGON_{name.upper()}" for name in Settings.model_fields}
    text = (
        DOCKERFILE + (ROOT / "docker" / "compose.yaml").read_text() + (ROOT / "k8s/base/kustomization.yaml").read_text()
    )
    used = set(re.findall(r"AGON_[A-Z_]+", text)) - {"AGON_TAG"}
    assert used <= known, used - known


def test_secrets_are_random_private_and_made_once(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((ROOT / "docker" / "secrets.sh").read_bytes())
    subprocess.run(["sh", str(script)], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    subprocess.run(["sh", str(script)], check=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == made


def test_secrets_are_not_committed() -> None:
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
