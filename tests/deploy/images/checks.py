"""What each image must do, in a box of it. A check raises AssertionError or RuntimeError with what went wrong."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from box import Box
from store import ROOT, Store

API = "http://127.0.0.1:8700"
AGON = "/var/lib/agon"


def control(store: Store, folder: Path) -> list[str]:
    """The API alone, with SQLite, where neither Ray nor MLflow answers: it says so, and takes a job that waits."""
    env = {"AGON_WEBHOOKS": "false"}
    volumes = {AGON: folder / "home", "/shared": folder / "shared"}
    with Box(store, "agon-control:check", volumes, env) as box:
        told = [
            _version(box, ("service.app", "s3fs", "gcsfs", "psycopg"), without=("torch", "ray", "mlflow")),
            _read_only(box),
        ]
        box.start(folder / "api.log")
        ready = box.wait(f"{API}/readyz")
        assert ready["ready"] is True
        assert ready["ray"]["state"] == "unreachable", ready
        job = _agon(box, folder / "home", "submit", "gan-digits").strip()
        shown = json.loads(_agon(box, folder / "home", "show", job, "--json"))
        assert shown["state"] == "queued", shown
        log = [line for line in (folder / "api.log").read_text().splitlines() if line.strip()]
        plain = [line for line in log if not line.startswith("{")]
        assert not [line for line in plain if "HTTP/1.1" in line], "uvicorn's own access lines are in the log"
        assert box.stop() in (0, 143), box.tail()
    return [
        *told,
        "/readyz answers without Ray and MLflow",
        f"a job submitted over REST is {shown['state']}: {shown['reason']}",
    ]


def mlflow(store: Store, folder: Path) -> list[str]:
    """The server with SQLite and a folder of artifacts."""
    with Box(store, "agon-mlflow:check", {"/mlflow": folder / "mlflow"}) as box:
        told = [
            _version(box, ("mlflow", "flask_wtf", "boto3", "google.cloud.storage", "psycopg"), of="mlflow"),
            _read_only(box),
        ]
        box.start(folder / "mlflow.log")
        assert box.wait("http://127.0.0.1:5000/health", 180) == "OK"
        found = box.get("http://127.0.0.1:5000/api/2.0/mlflow/experiments/search?max_results=10")
        names = [one["name"] for one in found["experiments"]]
        assert names == ["Default"], names
        box.stop()
    return [*told, "/health and the REST API answer"]


def trainer(store: Store, folder: Path) -> list[str]:
    """Twenty steps alone; then all of Agon in one container, which loses nothing when it is removed and run again."""
    home = folder / "home"
    image, volumes, env = "agon-trainer:check", {AGON: home}, {"AGON_WARM_WORKERS": "0"}
    with Box(store, image, volumes, env) as box:
        modules = ("trainer.launch.ray_train", "s3fs", "boto3", "gcsfs", "psycopg", "opentelemetry.sdk")
        told = [_version(box, modules), _read_only(box)]
        box.run("wget", "--version")
        box.run(*f"agon train gan-digits --set train.images={20 * _batch()} --out {AGON}/alone".split(), seconds=300)
        steps = [int(name) for name in re.findall(r"\d+", " ".join(_names(home / "alone/checkpoints")))]
        assert max(steps) == 20, steps
        told.append("agon train: 20 steps, with a checkpoint")
    with Box(store, image, volumes, env) as box:
        box.start(folder / "up.log")
        box.wait(f"{API}/readyz", 300)
        words = (
            "submit",
            "gan-digits",
            "--set",
            "train.images=6400",
            "--set",
            "publish.model=demo",
            "--json",
            "--wait",
        )
        job = _last(_agon(box, home, *words, seconds=400))
        assert job["state"] == "succeeded", job
        told.append(f"agon up --foreground: job {job['id']} succeeded")
        assert box.stop(120) == 0, box.tail()
    with Box(store, image, volumes, env) as box:  # as after `docker rm` and an upgrade
        box.start(folder / "again.log")
        box.wait(f"{API}/readyz", 300)
        kept = json.loads(_agon(box, home, "show", job["id"], "--json"))
        assert kept["state"] == "succeeded", kept
        assert _names(home / "jobs" / job["id"] / "checkpoints"), "the job's checkpoints are gone"
        # docker exec CONTAINER agon pull …: MLflow answers inside alone
        mlflow_env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:8701"}
        box.outside(
            sys.executable, "-m", "trainer.publish", "pull", "demo", str(folder / "pulled"), env=mlflow_env, seconds=120
        )
        assert _names(folder / "pulled"), "no model was pulled"
        box.stop(120)
    return [*told, "removed and run again on its volume: the job, its checkpoints and its model are there"]


CHECKS: dict[str, Callable[[Store, Path], list[str]]] = {"control": control, "mlflow": mlflow, "trainer": trainer}


def _version(box: Box, modules: tuple[str, ...], *, without: tuple[str, ...] = (), of: str = "agon") -> str:
    script = f"""
import importlib, importlib.metadata, importlib.util, os
for name in {modules!r}:
    importlib.import_module(name)
found = [name for name in {without!r} if importlib.util.find_spec(name)]
assert not found, found
assert (os.getuid(), os.getgid(), os.getgroups()) == (10001, 10001, []), (os.getuid(), os.getgid(), os.getgroups())
print(importlib.metadata.version({of!r}))
"""
    return f"{of} {box.run('python', '-c', script, seconds=300).strip().splitlines()[-1]} as user 10001, imports {', '.join(modules)}"


def _read_only(box: Box) -> str:
    """Nothing may be written but in volumes and /tmp; nobody could even if the files' modes let them."""
    box.run("sh", "-c", "touch /tmp/here && ! touch /opt/agon/here 2>/dev/null && ! touch /usr/here 2>/dev/null")
    mounts = box.run("cat", "/proc/self/mounts")
    assert re.search(r"^\S+ / \S+ ro[, ]", mounts, re.MULTILINE), mounts
    assert "CapEff:\t0000000000000000" in box.run("cat", "/proc/self/status")
    return "read-only root, no capabilities"


def _agon(box: Box, home: Path, *words: str, seconds: float = 60) -> str:
    """The command of this machine against the container's API, as its user outside would give it."""
    token = (home / "token").read_text().strip()
    return box.outside(
        sys.executable, "-m", "service.cli", *words, env={"AGON_URL": API, "AGON_TOKEN": token}, seconds=seconds
    )


def _batch() -> int:
    sys.path.insert(0, str(ROOT))
    from trainer.families.table import recipes

    return recipes()["gan-digits"]().train.batch


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _last(said: str) -> Any:
    """The JSON document that output ends with."""
    return json.loads(said[said.index("{\n") :])
