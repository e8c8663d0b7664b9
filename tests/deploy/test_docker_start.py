"""What the containers' programs meet when they start: compose's secrets with their modes and owner, the images' settings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
SECRETS = "/run/secrets"
HOST_USER = 1000  # whoever ran secrets.sh

START = """
import os, sys
from fastapi.testclient import TestClient
from service.app import create_app
from service.settings import Settings
home, user = sys.argv[1], int(sys.argv[2])

def start(settings):
    with TestClient(create_app(settings)) as client:
        headers = {"Authorization": "Bearer " + settings.token_file.read_text().strip(), "Host": "localhost"}
        answer = client.get("/v1/jobs", headers=headers)
        assert answer.status_code == 200, answer.text

start(Settings(home=home + "/warm", token_file=home + "/warm/token"))  # imports all, while this may read where it lies
if os.geteuid() == 0:
    os.chown(home, user, user)
    os.setgid(user)
    os.setuid(user)
else:
    os.geteuid = lambda: user  # only root can become another: the files, which are ours, are then somebody else's all the same
os.chdir(home)
start(Settings())
"""


def _stage(name: str) -> str:
    parts = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


def _env(stage: str) -> dict[str, str]:
    lines = re.findall(r"^ENV ((?:.*\\\n)*.*)$", stage, re.MULTILINE)
    return dict(re.findall(r"(AGON_\w+)=(\S+)", " ".join(lines)))


@pytest.mark.long
def test_the_api_starts_with_the_files_modes_and_user_of_compose(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docker" / "secrets.sh", tmp_path / "secrets.sh")
    subprocess.run(["sh", str(tmp_path / "secrets.sh")], check=True)
    mounted = Path(
        f"{tmp_path}-mounted"
    )  # compose binds each file by itself: the closed folder around it doesn't come along
    mounted.mkdir()
    for name, secret in COMPOSE["secrets"].items():
        copy = shutil.copy2(tmp_path / secret["file"], mounted / name)
        if os.geteuid() == 0:
            os.chown(copy, HOST_USER, HOST_USER)
    api = COMPOSE["services"]["api"]
    given = {name: str(value).replace(SECRETS, str(mounted)) for name, value in api["environment"].items() if value}
    given |= {"AGON_DATABASE_URL": "", "AGON_MIRROR": ""}  # SQLite: the rest of compose isn't here
    user = int(re.search(r"useradd --uid (\d+)", _stage("base")).group(1))  # type: ignore[union-attr]
    home = tmp_path / "home"
    home.mkdir()
    env = {**os.environ, **given, "AGON_HOME": str(home), "AGON_RECONCILER": "false"}
    # pytest's folders are closed to other users; the container has no such folders around these.
    for folder in (home, *home.parents):
        if os.geteuid() == 0 and folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", START, str(home), str(user)], capture_output=True, text=True, timeout=120, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_stack_in_one_container_keeps_everything_on_the_volume_that_the_documents_name() -> None:
    """What its API keeps, by the environment of the image that runs it."""
    from service.settings import Settings

    command = re.search(r"`docker run [^`]*-v agon:(\S+) agon-trainer`", (ROOT / "docs/operations.md").read_text())
    assert command is not None
    volume = Path(command.group(1))
    env = {**_env(_stage("base")), **_env(_stage("trainer"))}
    settings = Settings(**{name.removeprefix("AGON_").lower(): value for name, value in env.items()})  # type: ignore[arg-type]
    kept = (settings.home, settings.jobs_root, settings.cache_dir, settings.token_file, *map(Path, settings.data_roots))
    assert all(path == volume or volume in path.parents for path in kept), kept
    assert f"sqlite:///{volume}/" in settings.database_url


def test_the_api_and_the_nodes_of_compose_share_a_volume_for_what_both_read() -> None:
    api, worker, head = (set(COMPOSE["services"][name]["volumes"]) for name in ("api", "ray-worker", "ray-head"))
    assert api == head <= worker
    shared = {mount.split(":")[1] for mount in api}
    env = _env(_stage("base")) | _env(_stage("control"))
    for name in ("AGON_JOBS_ROOT", "AGON_CACHE_DIR", "AGON_DATA_ROOTS"):
        assert any(env[name].startswith(f"{folder}/") for folder in shared), name
