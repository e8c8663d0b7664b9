"""Stands in for Ray at its HTTP seam: `benchmarks.chaos.head WORLD PORT DOOM`.

Answers what `service/gateway/ray_jobs.py` asks, as Ray 2.60 does, and starts drivers on nodes that are nurseries. All it knows lies in
WORLD/ray, so that one that was killed comes back as a head with storage does, knowing its jobs; without that folder's `jobs` it is a head
that has forgotten them.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.chaos.death import Doom
from benchmarks.chaos.nursery import order, put

NODES = ("node-0", "node-1")
CPUS = 2
"""Of each."""
DRIVER = "benchmarks.chaos.driver"
STOP_SECONDS = 3.0
"""Between SIGTERM and SIGKILL, as Ray has it."""


class Head:
    """The jobs and where they run, all in files."""

    def __init__(self, world: Path, doom: Doom) -> None:
        self.world, self.folder, self.doom = world, world / "ray", doom
        self.lock = threading.Lock()
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)
        for name in self._names():  # one of which the last head died before it had a driver
            record = self._record(name)
            if record and not (self.folder / record["node"] / "running" / name).exists():
                put(self.folder / record["node"] / "ended" / name, "1")

    def submit(self, name: str, entrypoint: str) -> bool:
        """Whether it is a new one, and started."""
        with self.lock:
            if (self.folder / "jobs" / name).exists():
                return False
            job_file = Path(shlex.split(entrypoint)[-1])
            resources = json.loads(job_file.read_text())["spec"]["resources"]
            cpus = resources["workers"] * resources["cpus_per_worker"]
            node = max(self._alive() or NODES, key=lambda node: self._free(node))
            self.doom.at("before a job is written down")
            record = {"node": node, "incarnation": self._incarnation(node), "cpus": cpus}
            put(self.folder / "jobs" / name, json.dumps(record))
            self.doom.at("before its driver starts")
            with suppress(OSError, ValueError):  # a node that is gone: the job has failed
                self._start(name, node, job_file)
            self.doom.at("before the submission is answered")
            return True

    def _start(self, name: str, node: str, job_file: Path) -> None:
        environment = {"CHAOS_WORLD": str(self.world), "CHAOS_NODE": node}
        log = self.world / "logs" / f"{name}.log"
        order(self.folder / f"{node}.socket", DRIVER, [str(job_file)], environment=environment, log=log, tag=name)

    def status(self, name: str) -> dict[str, Any] | None:
        """As Ray shows it; None if it isn't known."""
        record = self._record(name)
        if record is None:
            return None
        place, code = self.folder / record["node"], None
        with suppress(OSError, ValueError):
            code = int((place / "ended" / name).read_text())
        status, message = "PENDING", ""
        if code is not None:
            status = "SUCCEEDED" if code == 0 else "FAILED"
        elif self._incarnation(record["node"]) != record["incarnation"]:
            status, message = "FAILED", "the node of its driver died"
        elif (place / "running" / name).exists():
            status = "RUNNING"
        if status in ("SUCCEEDED", "FAILED") and (self.folder / "jobs" / f".stop.{name}").exists():
            status = "STOPPED"
        facts = {"type": "SUBMISSION", "submission_id": name, "status": status, "message": message}
        return facts | {"driver_exit_code": code}

    def stop(self, name: str) -> bool:
        """Whether it is known. SIGTERM, and in a while SIGKILL."""
        found = self.status(name)
        if found is None:
            return False
        record = self._record(name)
        if record and found["status"] == "RUNNING":
            with self.doom.around("a stop"), suppress(OSError, ValueError):
                put(self.folder / "jobs" / f".stop.{name}", "")
                pid = int((self.folder / record["node"] / "running" / name).read_text())
                os.kill(pid, signal.SIGTERM)
                threading.Timer(STOP_SECONDS, self._kill, (name, pid)).start()
        return True

    def _kill(self, name: str, pid: int) -> None:
        found = self.status(name)
        if found and found["status"] == "RUNNING":
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def nodes(self) -> list[dict[str, Any]]:
        """Those alive, as the state API lists them."""
        alive = self._alive()
        return [{"node_id": node, "state": "ALIVE", "resources_total": {"CPU": float(CPUS)}} for node in alive]

    def usage(self) -> dict[str, dict[str, list[float]]]:
        """What of them is used."""
        return {node: {"CPU": [CPUS - self._free(node), float(CPUS)]} for node in self._alive()}

    def jobs(self) -> list[dict[str, Any]]:
        """All that are known."""
        return [found for name in self._names() if (found := self.status(name)) is not None]

    def _names(self) -> list[str]:
        return [path.name for path in (self.folder / "jobs").iterdir() if not path.name.startswith(".")]

    def _record(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(json.loads((self.folder / "jobs" / name).read_text()))
        except (OSError, ValueError):
            return None

    def _incarnation(self, node: str) -> str:
        """Which life of the node this is; empty while it is dead."""
        try:
            return (self.folder / f"{node}.alive").read_text()
        except OSError:
            return ""

    def _alive(self) -> list[str]:
        return [node for node in NODES if self._incarnation(node)]

    def _free(self, node: str) -> float:
        taken = 0.0
        for name in self._names():
            record, found = self._record(name), self.status(name)
            if record and found and record["node"] == node and found["status"] in ("PENDING", "RUNNING"):
                taken += record["cpus"]
        return max(0.0, CPUS - taken)


class Handler(BaseHTTPRequestHandler):
    """The part of the dashboard's API that is used."""

    protocol_version = "HTTP/1.1"
    head: Head

    def do_GET(self) -> None:
        path = self.path.split("?")[0].rstrip("/")
        name = unquote(path.removeprefix("/api/jobs").strip("/"))
        if path == "/api/version":
            self.answer({"ray_version": "chaos"})
        elif path == "/api/v0/nodes":
            self.answer({"data": {"result": {"result": self.head.nodes()}}})
        elif path == "/api/cluster_status":
            self.answer({"data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": self.head.usage()}}}})
        elif not name:
            self.answer(self.head.jobs())
        elif (found := self.head.status(name.removesuffix("/logs"))) is None:
            self.answer({"error": "unknown"}, 404)
        else:
            self.answer({"logs": ""} if name.endswith("/logs") else found)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "{}")
        if self.path.endswith("/stop"):
            known = self.head.stop(unquote(self.path.removeprefix("/api/jobs/").removesuffix("/stop")))
            self.answer({"stopped": known}, 200 if known else 404)
        elif self.head.submit(body["submission_id"], body["entrypoint"]):
            self.answer({"submission_id": body["submission_id"]})
        else:
            self.answer({"error": f"Job with submission_id {body['submission_id']} already exists"}, 500)

    def answer(self, body: Any, status: int = 200) -> None:
        """As JSON."""
        content = json.dumps(body).encode()
        with suppress(OSError):  # the caller was killed
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


def main(arguments: list[str]) -> None:
    """See the module."""
    world, port, told = arguments
    Handler.head = Head(Path(world), Doom(Path(world), "ray head", told))
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.daemon_threads = True
    server.serve_forever()
