"""Workers find one another without opening a port to other networks."""

import socket

import psutil

from trainer.launch.backend import store


def test_rank_0_serves_the_store_at_its_own_address_alone() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = store("127.0.0.1", port, rank=0, world=1)
    served.set("word", "heard")
    assert served.get("word") == b"heard"
    at = [
        each.laddr.ip
        for each in psutil.Process().net_connections()
        if each.status == "LISTEN" and each.laddr.port == port
    ]
    assert at == ["127.0.0.1"]
