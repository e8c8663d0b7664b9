"""Servers that answer as a test says: with a status, another address, drop by drop, or with no HTTP at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

Answer = bytes | Callable[[socket.socket], None]


class Server:
    """Listens on a loopback address; `answers` maps a path to what it sends. Every request line is kept."""

    def __init__(self, answers: dict[str, Answer], host: str = "127.0.0.1") -> None:
        self.answers, self.lines = answers, []
        self.heads: list[bytes] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=64)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    lines: list[str]

    def close(self) -> None:
        """Stop listening: connections are refused from now on."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head and (more := connection.recv(65536)):
                head += more
            if not head:
                return
            self.heads.append(head)
            line = head.split(b"\r\n", 1)[0].decode()
            self.lines.append(line)
            answer = self.answers.get(line.split(" ")[1], self.answers.get("*", status(404)))
            connection.sendall(answer) if isinstance(answer, bytes) else answer(connection)


def status(code: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {code} Words", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(to: str, code: int = 302) -> bytes:
    """A redirect."""
    return status(code, b"elsewhere", Location=to)


def dripping(content: bytes, pause: float = 0.05) -> Callable[[socket.socket], None]:
    """Sends a byte at a time, for ever if need be: the client is to lose its patience."""

    def answer(connection: socket.socket) -> None:
        for place in range(len(content)):
            connection.sendall(content[place : place + 1])
            time.sleep(pause)

    return answer
