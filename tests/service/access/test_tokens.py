"""Who may do what."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.access.tokens import digest, read_or_create
from service.app import create_app
from service.db.tables import Token
from service.gateway.fake_ray import FakeRay
from service.settings import Settings

LOGIN = ("post", "/v1/session")
"""Has the token in its body."""
OPEN = {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect"}


def test_every_endpoint_but_the_open_ones_wants_a_token(world: Any) -> None:
    paths = world.client.get("/openapi.json").json()["paths"]
    checked = 0
    for path, calls in paths.items():
        for method in calls:
            concrete = (
                path.replace("{job_id}", "j-1")
                .replace("{name}", "n")
                .replace("{alias}", "a")
                .replace("{token_id}", "t")
            )
            body = b"{}" if method in ("post", "put") else None
            headers = {"Authorization": ""}
            reply = world.client.request(method, concrete, content=body, headers=headers)
            if (method, path) == LOGIN:
                assert reply.status_code == 422
                continue
            if path in OPEN:
                assert reply.status_code == 200
                continue
            checked += 1
            assert reply.status_code == 401, f"{method} {path}"
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
            assert reply.headers["content-type"] == "application/problem+json"
    assert checked > 20


@pytest.mark.parametrize("header", ["Bearer ", "Bearer nope", "Basic abc", "Bearer " + "x" * 5000, "Bearer \xe9"])
def test_an_unknown_token_is_refused(world: Any, header: str) -> None:
    reply = world.client.get("/v1/jobs", headers={"Authorization": header.encode("latin-1")})
    assert reply.status_code == 401


def test_tokens_are_stored_as_hashes_only(world: Any) -> None:
    job = world.submit()
    world.round()
    secrets = [world.token(job), world.settings.token_file.read_text().strip()]
    with world.db.read() as session:
        rows = session.scalars(select(Token)).all()
    assert {row.digest for row in rows} == {digest(secret) for secret in secrets}
    for row in rows:
        assert not any(secret in str(vars(row)) for secret in secrets)


def test_a_jobs_token_reports_for_its_own_job_and_can_do_nothing_else(world: Any) -> None:
    job, other = world.submit(), world.submit()
    world.round()
    headers = {"Authorization": f"Bearer {world.token(job)}"}
    assert world.client.get(f"/v1/jobs/{job}/desired", headers=headers).json() == {"acked": 0, "desired": "run"}
    assert world.client.get(f"/v1/jobs/{other}/desired", headers=headers).status_code == 403
    for method, path in [
        ("GET", "/v1/jobs"), ("GET", f"/v1/jobs/{job}"), ("POST", f"/v1/jobs/{job}/cancel"), ("GET", f"/v1/jobs/{job}/events"),
        ("GET", f"/v1/jobs/{job}/logs"), ("POST", "/v1/jobs"), ("GET", "/v1/tokens"), ("GET", "/v1/cluster"), ("GET", "/v1/models"),
    ]:  # fmt: skip
        reply = world.client.request(method, path, headers=headers)
        assert reply.status_code == 403, path
        assert "insufficient_scope" in reply.headers["WWW-Authenticate"]


def test_people_cannot_report_for_a_job(world: Any) -> None:
    job = world.submit()
    assert world.client.get(f"/v1/jobs/{job}/desired").status_code == 403
    assert world.client.post(f"/v1/jobs/{job}/events", json={"events": []}).status_code == 403


def test_an_administrator_makes_and_revokes_tokens_of_anybody(world: Any) -> None:
    made = world.client.post("/v1/tokens", json={"name": "ada"}).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert world.client.get("/v1/jobs", headers=headers).status_code == 200
    listed = world.client.get("/v1/tokens")
    assert [item["name"] for item in listed.json()["items"]] == ["bootstrap", "ada"]
    assert made["token"] not in listed.text
    assert world.client.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert world.client.get("/v1/jobs", headers=headers).status_code == 401
    assert world.client.delete(f"/v1/tokens/{made['id']}").status_code == 404
    assert world.client.delete("/v1/tokens/bootstrap").status_code == 409


def test_two_people_may_use_the_same_idempotency_key(world: Any) -> None:
    token = world.client.post("/v1/tokens", json={"name": "ada"}).json()["token"]
    mine = world.submit(headers={"Idempotency-Key": "k"})
    theirs = world.submit(headers={"Idempotency-Key": "k", "Authorization": f"Bearer {token}"}, name="other")
    assert mine != theirs


def test_the_token_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "token"
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: read_or_create(path), range(16)))
    assert len(tokens) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_token_file_that_everyone_can_read_or_that_holds_no_token_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("short\n")
    path.chmod(0o600)
    with pytest.raises(ValueError, match="no token"):
        read_or_create(path)
    path.write_text("x" * 40)
    path.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        read_or_create(path)


def test_a_new_token_in_the_file_replaces_the_old_one_at_the_next_start(settings: Settings) -> None:
    old = read_or_create(settings.token_file)
    with TestClient(create_app(settings, FakeRay())) as client:
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {old}"}).status_code == 200
    settings.token_file.write_text("n" * 43)
    with TestClient(create_app(settings, FakeRay())) as client:
        assert client.get("/v1/jobs", headers={"Authorization": f"Bearer {old}"}).status_code == 401
        assert client.get("/v1/jobs", headers={"Authorization": "Bearer " + "n" * 43}).status_code == 200


def test_no_secret_shows_in_logs_or_answers(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    job = world.running()
    secrets = [world.token(job), world.settings.token_file.read_text().strip()]
    texts = [world.client.get(path).text for path in (f"/v1/jobs/{job}", "/v1/jobs", "/readyz", "/openapi.json")]
    world.client.get("/v1/jobs", headers={"Authorization": "Bearer agon_wrong-secret"})
    texts += [record.getMessage() + str(vars(record)) for record in caplog.records]
    for secret in [*secrets, "agon_wrong-secret"]:
        assert not any(secret in text for text in texts)
