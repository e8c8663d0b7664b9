"""Packed digits in several shards, specs for them, and a real HTTP server that can misbehave."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainer.data import fetch
from trainer.data.pack import Options, pack
from trainer.spec import JobSpec, parse_spec


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DELAYS", (0.01, 0.01, 0.01))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits at their own 8×8, in shards of about 300 images; not to be changed."""
    out = tmp_path_factory.mktemp("packed") / "digits"
    pack("builtin:digits", out, Options(shard_size=600_000))
    return out


@pytest.fixture
def make_spec() -> Callable[..., JobSpec]:
    def make(url: str | Path, resolution: int = 8, channels: int = 1, classes: int = 10, **data: object) -> JobSpec:
        adam = {"kind": "adam"}
        return parse_spec(
            {
                "arch": {"family": "dcgan", "resolution": resolution, "channels": channels, "classes": classes},
                "data": {"url": str(url), "lanes": 4, **data},
                "optimizers": {"G": adam, "D": adam},
                "train": {"batch": 16},
                "evaluation": {"metrics": []},  # some of the data are a single image, too few for a score
            }
        )

    return make


class Faulty(ThreadingHTTPServer):
    """Serves a folder; `faults[name]` lists what to do with the next requests for that file: a status, or "cut"."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.faults: defaultdict[str, list[int | str]] = defaultdict(list)
        self.requests: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Faulty)
        name = self.path.strip("/")
        self.server.requests[name] += 1
        fault = self.server.faults[name].pop(0) if self.server.faults[name] else None
        if isinstance(fault, int):
            self.send_error(fault)
        elif fault == "cut":
            content = (Path(self.directory) / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Faulty]]:
    servers = []

    def start(folder: Path) -> Faulty:
        server = Faulty(folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
