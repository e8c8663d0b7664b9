"""A training through all of compose.yaml, run as processes: what the file says is what happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import DOCKER, Containers, can_run

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]
WHY_NOT = can_run()
HOST = "agon.test"
SHELL = {
    "AGON_HOST": HOST,
    "AWS_ENDPOINT_URL": "http://s3:9000",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "MLFLOW_ARTIFACTS": "s3://agon/mlflow",
    "AGON_WORKER_CPUS": "2",
}
KEYS = "[default]\naws_access_key_id = reader\naws_secret_access_key = of-shards\n"
POSTGRES = r"""
data=/var/lib/postgresql/data
initdb --pgdata $data --username agon --pwfile $POSTGRES_PASSWORD_FILE --auth-host scram-sha-256 --no-sync --no-instructions >/dev/null
echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
{ echo "CREATE DATABASE $POSTGRES_DB;"; cat /docker-entrypoint-initdb.d/*.sql; echo; } | postgres --single -D $data postgres >/dev/null
exec postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql -c fsync=off
"""
"""What the official image does at its first start."""
UPLOAD = """
import sys, boto3, pathlib
from trainer.data.builtin import ensure_digits
s3 = boto3.client("s3")
s3.create_bucket(Bucket="agon", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
for path in ensure_digits(pathlib.Path(sys.argv[1]), 16).iterdir():
    s3.upload_file(str(path), "agon", f"digits/{path.name}")
"""
LIST = "import boto3; print([one['Key'] for one in boto3.client('s3').list_objects_v2(Bucket='agon', Prefix='mlflow/').get('Contents', ())])"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    folder = tmp_path_factory.mktemp("compose")
    (folder / "secrets.sh").write_bytes((DOCKER / "secrets.sh").read_bytes())
    subprocess.run(["sh", folder / "secrets.sh"], check=True)
    keys = folder / "secrets" / "aws-credentials"
    keys.chmod(0o644)
    keys.write_text(KEYS)
    keys.chmod(0o444)
    containers = Containers(folder, SHELL)
    try:
        _start(containers)
        yield containers
    finally:
        containers.close()


def _start(on: Containers) -> None:
    """In the order of depends_on, each when the ones before it are healthy."""
    on.start("s3", ["moto_server", "--host", "0.0.0.0", "--port", "9000"])
    on.start("postgres", ["sh", "-ec", POSTGRES])
    on.healthy(
        "postgres",
        lambda: (
            on.inside("postgres", *on.services["postgres"]["healthcheck"]["test"][1:])
            if _tool("pg_isready")
            else _tcp(on, "postgres", 5432)
        ),
    )
    on.healthy("s3", lambda: _tcp(on, "s3", 9000))
    on.outside(sys.executable, "-c", UPLOAD, str(on.folder / "digits"), env=_s3(on), seconds=120)
    on.start("mlflow")
    on.healthy("mlflow", lambda: _http(on, "http://mlflow:5000/health"))
    on.start("ray-head")
    on.healthy("ray-head", lambda: on.inside("ray-head", *on.services["ray-head"]["healthcheck"]["test"][1:]))
    on.start("ray-worker")
    on.start("api")
    on.healthy("api", lambda: _http(on, "http://api:8700/readyz"))
    on.start("proxy")
    on.healthy("proxy", lambda: _tcp(on, "proxy", 8443))


def test_a_job_goes_through_every_part_from_the_bucket_to_the_registry(running: Containers) -> None:
    """Submitted over TLS, its shards from S3, trained on the worker, its model behind MLflow's login and in the bucket."""
    running.healthy("api", lambda: _ready(running))
    words = ("--set", "data.url=s3://agon/digits", "--set", "train.images=6400", "--set", "publish.model=digits")
    said = _agon(running, "submit", "gan-digits", *words, "--json", "--wait", seconds=500)
    job = json.loads(said[said.index("{\n") :])
    assert job["state"] == "succeeded", (job, running.log("api")[-2000:])
    volumes = running.folder / "volumes"
    assert list((volumes / "worker" / "shards" / "shards").glob("*.tar")), "shards belong on the node's own disk"
    assert not (volumes / "shared" / "cache" / "shards").exists()
    assert list((volumes / "shared" / "jobs" / job["id"] / "checkpoints").iterdir())
    assert "MLmodel" in running.outside(sys.executable, "-c", LIST, env=_s3(running))
    pull = (sys.executable, "-m", "trainer.publish", "pull", "digits", str(running.folder / "pulled"))
    login = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_TRACKING_USERNAME": "agon"}
    with pytest.raises(RuntimeError, match=r"401|credentials|log ?in|authenti"):
        running.outside(*pull, env={**login, "MLFLOW_TRACKING_PASSWORD": "guessed"}, seconds=120)
    running.outside(*pull, env={**login, "MLFLOW_TRACKING_PASSWORD": _secret(running, "mlflow-password")}, seconds=120)
    assert (running.folder / "pulled" / "MLmodel").is_file()


def test_no_secret_is_in_a_list_of_arguments_or_a_log(running: Containers) -> None:
    secrets = {name: _secret(running, name) for name in running.file["secrets"] if name != "aws-credentials"}
    secrets["key of S3"] = "of-shards"
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_text(errors="replace")
        except OSError:
            continue
        for name, value in secrets.items():
            assert value not in words, f"{name} is in the arguments of {words[:200]!r}"
    for service in running.services:
        found = [name for name, value in secrets.items() if value in running.log(service)]
        assert not found, (service, found)


def test_the_api_logs_json_alone(running: Containers) -> None:
    lines = running.log("api").splitlines()
    assert any(json.loads(line)["message"] == "request" for line in lines if line.startswith("{"))
    assert [line for line in lines if not line.startswith("{")] == []


def test_a_worker_that_is_stopped_leaves_its_cluster_first(running: Containers) -> None:
    """Last in this file: the worker is gone after it."""
    (hook,) = running.services["ray-worker"]["pre_stop"]
    running.inside("ray-worker", *hook["command"], seconds=60)
    running.stop("ray-worker", seconds=60)


def _ready(on: Containers) -> None:
    """Raises RuntimeError unless the API reaches all parts."""
    found = json.loads(_http(on, "http://api:8700/readyz"))
    if any(found[part]["state"] != "ok" for part in ("database", "ray", "mlflow")):
        raise RuntimeError(str(found))


def _agon(on: Containers, *words: str, seconds: float = 60) -> str:
    root = on.inside("proxy", "cat", "/data/caddy/pki/authorities/local/root.crt")
    (authority := on.folder / "authority.crt").write_text(root)
    env = {"AGON_URL": f"https://{HOST}:8443", "AGON_TOKEN": _secret(on, "token"), "SSL_CERT_FILE": str(authority)}
    return on.outside(sys.executable, "-m", "service.cli", *words, env=env, seconds=seconds)


def _s3(on: Containers) -> dict[str, str]:
    return {
        **{name: value for name, value in SHELL.items() if name.startswith("AWS")},
        "AWS_SHARED_CREDENTIALS_FILE": str(on.folder / "secrets" / "aws-credentials"),
    }


def _http(on: Containers, url: str) -> str:
    return on.outside(
        sys.executable,
        "-c",
        "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())",
        url,
    )


def _tcp(on: Containers, name: str, port: int) -> str:
    return on.outside(
        sys.executable,
        "-c",
        f"import socket; socket.create_connection(({name!r}, {port}), 3)"
        if name != "proxy"
        else f"import socket; socket.create_connection(({HOST!r}, {port}), 3)",
    )


def _secret(on: Containers, name: str) -> str:
    return (on.folder / "secrets" / name).read_text().strip()


def _tool(name: str) -> bool:
    return any(os.access(Path(folder) / name, os.X_OK) for folder in os.environ["PATH"].split(os.pathsep))
