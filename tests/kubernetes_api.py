"""A Kubernetes API server that keeps RayJobs and RayClusters in memory, and is as strict about versions as the real one: `operate` plays
KubeRay's operator."""

from __future__ import annotations

import copy
import itertools
import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

NAMESPACE, TOKEN = "agon", "a-service-account"
KINDS = {"rayjobs": "RayJob", "rayclusters": "RayCluster"}
SPEC = {
    "RayJob": {
        "entrypoint", "jobId", "metadata", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "suspend", "rayClusterSpec",
    },
}  # fmt: skip
"""Fields of a RayJob's spec that KubeRay 1.6 knows and we use; others are refused, as with strict validation."""


class Kubernetes:
    """`objects` by kind and name. `answer` is sent in place of the next answers, as (status, message)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.answers: list[tuple[int, str]] = []
        self.calls: list[str] = []
        self.lingers = False
        """Whether what is deleted is there until `gone`, as long as its pods are."""
        self._versions = itertools.count(1)
        self._lock = threading.RLock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._serve(self, "GET")

            def do_POST(self) -> None:
                outer._serve(self, "POST")

            def do_DELETE(self) -> None:
                outer._serve(self, "DELETE")

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def account(self, folder: Path) -> Path:
        """What is mounted into a pod."""
        folder.mkdir()
        (folder / "token").write_text(TOKEN)
        (folder / "namespace").write_text(NAMESPACE)
        return folder

    def put(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """An object that others have made."""
        body = {"apiVersion": "ray.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self._store(kind, name, body)

    def gone(self, name: str) -> None:
        """The pods of a RayJob that was deleted have ended."""
        with self._lock:
            del self.objects["RayJob", name]

    def operate(self, name: str, **status: Any) -> None:
        """What the operator writes down of a RayJob."""
        with self._lock:
            found = self.objects["RayJob", name]
            found["status"] = {**found.get("status", {}), **status}
            found["metadata"]["resourceVersion"] = str(next(self._versions))

    def _store(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        facts = {"uid": str(uuid.uuid4()), "resourceVersion": str(next(self._versions)), "namespace": NAMESPACE}
        self.objects[kind, name] = {**body, "metadata": {**body["metadata"], **facts}}
        return self.objects[kind, name]

    def _serve(self, request: BaseHTTPRequestHandler, method: str) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length)) if length else None
        with self._lock:
            self.calls.append(f"{method} {request.path}")
            status, answer = self._answer(request, method, body)
            content = json.dumps(copy.deepcopy(answer)).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _answer(self, request: BaseHTTPRequestHandler, method: str, body: Any) -> tuple[int, dict[str, Any]]:
        if self.answers:
            status, words = self.answers.pop(0)
            return status, _status(status, words)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, _status(401, "Unauthorized")
        url = urlsplit(request.path)
        parts = url.path.strip("/").split("/")
        if parts[:5] != ["apis", "ray.io", "v1", "namespaces", NAMESPACE] or parts[5] not in KINDS:
            return 404, _status(404, "the server could not find the requested resource")
        kind = KINDS[parts[5]]
        if len(parts) == 6:
            return self._create(kind, body) if method == "POST" else self._list(kind, parse_qs(url.query))
        found = self.objects.get((kind, parts[6]))
        if found is None:
            return 404, _status(404, f'{parts[5]}.ray.io "{parts[6]}" not found')
        return self._delete(kind, parts[6], found, body) if method == "DELETE" else (200, found)

    def _create(self, kind: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = body["metadata"]["name"]
        if (kind, name) in self.objects:
            return 409, _status(409, f'{kind} "{name}" already exists', "AlreadyExists")
        if len(name) > 47 or (unknown := set(body["spec"]) - SPEC[kind]):
            return 422, _status(422, f"{kind} is invalid: {name if len(name) > 47 else sorted(unknown)}", "Invalid")
        return 201, self._store(kind, name, body)

    def _list(self, kind: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        wanted = dict(part.split("=") for part in query.get("labelSelector", [""])[0].split(",") if part)
        found = [
            one
            for (of, _), one in sorted(self.objects.items())
            if of == kind and wanted.items() <= one["metadata"].get("labels", {}).items()
        ]
        begin, limit = int(query.get("continue", ["0"])[0]), int(query.get("limit", ["500"])[0])
        onward = {"continue": str(begin + limit)} if begin + limit < len(found) else {}
        return 200, {"kind": f"{kind}List", "metadata": onward, "items": found[begin : begin + limit]}

    def _delete(self, kind: str, name: str, found: dict[str, Any], body: Any) -> tuple[int, dict[str, Any]]:
        for field, value in ((body or {}).get("preconditions") or {}).items():
            if found["metadata"][field] != value:
                return 409, _status(409, f"the {field} in the precondition ({value}) does not match", "Conflict")
        if self.lingers:
            found["metadata"] |= {
                "deletionTimestamp": "2026-12-01T00:00:00Z",
                "resourceVersion": str(next(self._versions)),
            }
        else:
            del self.objects[kind, name]
        return 200, _status(200, "")


def _status(code: int, message: str, reason: str = "") -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "reason": reason}
