"""Workers find one another without opening a port to other networks."""

import socket

import psutil
import pytest

from trainer.launch import backend
from trainer.launch.backend import listen, store


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


def test_nobody_can_take_rank_0s_port_between_hearing_of_it_and_serving_the_store() -> None:
    address, port = backend._open()
    with pytest.raises(OSError, match="in use"):
        listen(address, port)
    served = store(address, port, rank=0, world=1, server=backend._SERVER.pop())
    served.set("word", "heard")
    assert served.get("word") == b"heard"
