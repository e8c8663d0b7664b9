"""A TCP proxy that loses, cuts, delays and half-closes connections, before one or several servers."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

PIECE = 65536
DELAY_SECONDS = 0.4
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close tells the other side with RST, as a machine that is gone does."""
FATES = ("cut", "late", "half-closed")


class Proxy:
    """Listens on `port`; a connection goes to a server that accepts it, chosen by chance. Harmless until it is made rough."""

    def __init__(self, servers: Sequence[int], seed: int) -> None:
        self.servers, self.rough = list(servers), 0.0
        """rough: share of the pieces of requests and answers that come to harm."""
        self.harm: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        """As clients know it."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        server = self._connected()
        if server is None:
            _reset(client)
            return
        back = threading.Thread(target=self._carry, args=(server, client, "answer"), daemon=True)
        back.start()
        self._carry(client, server, "request")
        back.join()
        for side in (client, server):
            side.close()

    def _connected(self) -> socket.socket | None:
        for port in self._random.sample(self.servers, len(self.servers)):
            with suppress(OSError):
                return socket.create_connection(("127.0.0.1", port), timeout=2)
        return None

    def _carry(self, source: socket.socket, sink: socket.socket, what: str) -> None:
        """One direction, piece by piece, until its end or its fate."""
        with suppress(OSError):
            source.settimeout(None)
            while piece := source.recv(PIECE):
                fate = self._random.choice(FATES) if self._random.random() < self.rough else ""
                if fate:
                    self.harm[f"{what} {fate}"] += 1
                if fate == "cut":
                    _reset(sink, source)
                    return
                if fate == "late":
                    time.sleep(self._random.uniform(0, DELAY_SECONDS))
                if fate == "half-closed":
                    sink.sendall(piece[: len(piece) // 2])
                    break
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _reset(*sides: socket.socket) -> None:
    for side in sides:
        with suppress(OSError):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            side.shutdown(socket.SHUT_RDWR)
            side.close()
