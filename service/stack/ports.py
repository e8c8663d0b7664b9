"""Ports of the embedded stack: which, and who has them."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import psutil

LOOPBACK = "127.0.0.1"
WILDCARDS = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 — told apart, not bound
"""Addresses that mean every interface, and where this machine reaches what is bound to them."""
OPTIONS = {
    "api": "--api-port",
    "mlflow": "--mlflow-port",
    "dashboard": "--dashboard-port",
    "gcs": "--gcs-port",
    "serve": "--serve-port",
}


@dataclass(frozen=True)
class Ports:
    """The ports that a user can choose. 0 takes any free one."""

    api: int = 8700
    mlflow: int = 8701
    dashboard: int = 8265
    gcs: int = 6379
    serve: int = 8702

    @classmethod
    def free(cls) -> Ports:
        """Any that are free."""
        return cls(0, 0, 0, 0, 0)

    def resolved(self) -> Ports:
        """With every 0 replaced by a free port."""
        chosen = [name for name, port in asdict(self).items() if port == 0]
        return replace(self, **dict(zip(chosen, free_ports(len(chosen)), strict=True)))


@dataclass(frozen=True)
class Busy:
    """A port that is taken."""

    name: str
    port: int
    owner: str
    ours: bool = False
    """Whether another part of the same stack is to have it."""

    def line(self) -> str:
        """What is taken, by whom, and the option that chooses another."""
        if self.ours:
            return f"port {self.port} ({self.name}) is asked for {self.owner}, too; choose another: agon up {OPTIONS[self.name]} PORT"
        return f"port {self.port} ({self.name}) is taken by {self.owner}; stop it, or choose another: agon up {OPTIONS[self.name]} PORT"


def reached_at(host: str) -> str:
    """The address at which this machine reaches a server that is bound to `host`."""
    return WILDCARDS.get(host, host)


def base_url(host: str, port: int) -> str:
    """URL of a server that is bound to `host`, as this machine reaches it."""
    address = reached_at(host)
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free on loopback now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind((LOOPBACK, 0))
        return [int(held.getsockname()[1]) for held in sockets]
    finally:
        for held in sockets:
            held.close()


def shared(ports: Ports) -> list[Busy]:
    """Those that two parts are to have."""
    wanted = list(asdict(ports).items())
    return [
        Busy(name, port, f"by {OPTIONS[other]}", ours=True)
        for index, (name, port) in enumerate(wanted)
        for other, taken in wanted[:index]
        if port == taken
    ]


def busy(ports: Ports, names: Iterable[str], host: str = LOOPBACK) -> list[Busy]:
    """Those of the named ports that can't be bound."""
    wanted = asdict(ports)
    return [Busy(name, wanted[name], _owner(wanted[name])) for name in names if not _bindable(host, wanted[name])]


def _bindable(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free to a server
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _owner(port: int) -> str:
    """The process that listens on the port, as far as this user may see it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status != psutil.CONN_LISTEN or not connection.pid:
                continue
            if connection.laddr and connection.laddr.port == port:
                process = psutil.Process(connection.pid)
                command = " ".join(process.cmdline()) or process.name()
                return f"process {process.pid} ({command[:80]})"
    except psutil.Error:
        pass
    return "another process (of another user, or in a container)"
