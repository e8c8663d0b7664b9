"""A real HTTP server that answers what a test scripts, one entry a request."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Answer:
    """One scripted answer. `cut`: break the connection after the body instead of ending it properly."""

    status: int = 200
    body: Any = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Script:
    """Answers in order; the last one is repeated."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []
        self.url = ""

    def then(self, body: Any = None, status: int = 200, **more: Any) -> Script:
        """Append an answer."""
        self.answers.append(Answer(status, body, **more))
        return self

    def problem(self, status: int, detail: str, errors: list[dict[str, str]] | None = None, **headers: str) -> Script:
        """Append a problem document."""
        document = {
            "type": "urn:x",
            "title": "T",
            "status": status,
            "detail": detail,
            "errors": errors or [],
            "request_id": "r1",
        }
        return self.then(document, status, content_type="application/problem+json", headers=headers)

    def stream(self, *messages: tuple[str, str, dict[str, Any]], cut: bool = False) -> Script:
        """Append an event stream of (id, event, data)."""
        text = "".join(
            (f"id: {number}\r\n" if number else "") + f"event: {event}\r\ndata: {json.dumps(data)}\r\n\r\n"
            for number, event, data in messages
        )
        return self.then(": hello\r\n\r\n" + text, content_type="text/event-stream", cut=cut)


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            size = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.seen.append(Seen(self.command, self.path, headers, body))
            answer = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            data = text.encode()
            self.send_response(answer.status)
            self.send_header("content-type", answer.content_type)
            self.send_header("content-length", str(len(data) + (100 if answer.cut else 0)))
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)
            if answer.cut:
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield script
    server.shutdown()
    thread.join()
    server.server_close()
