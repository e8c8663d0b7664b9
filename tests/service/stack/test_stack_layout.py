"""The stack's files are private, its tokens stable, its ports explained."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from service.db.migrate import upgrade
from service.db.session import Database
from service.settings import Settings
from service.stack import record as records
from service.stack.errors import HomeUnusable
from service.stack.layout import RAY_SOCKET_TAIL, UNIX_SOCKET_LIMIT, Layout, ensure_token
from service.stack.ports import Ports, busy, free_ports
from service.stack.record import PartRecord, StackRecord


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_and_tokens_can_be_read_by_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        layout = Layout(tmp_path / "home")
        layout.create()
    finally:
        os.umask(before)
    assert _mode(layout.home) == 0o700
    assert _mode(layout.token) == _mode(layout.ray_token) == 0o600
    assert layout.token.read_text() != layout.ray_token.read_text()
    assert len(layout.token.read_text()) >= 43, "256 bits in base64"


def test_a_token_stays_the_same_and_is_closed_again_if_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "token"
    first = ensure_token(path)
    path.chmod(0o644)
    assert ensure_token(path) == first
    assert _mode(path) == 0o600


def test_an_empty_token_is_refused_and_not_used(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch()
    with pytest.raises(ValueError, match="is empty"):
        ensure_token(path)


def test_rays_sockets_fit_wherever_home_is(tmp_path: Path) -> None:
    short, long = Layout(Path("/srv/agon")), Layout(tmp_path / ("x" * 120))
    assert short.ray_temp == short.home / "ray"
    for layout in (short, long):
        assert len(os.fsencode(layout.ray_temp)) + RAY_SOCKET_TAIL <= UNIX_SOCKET_LIMIT
    assert Layout(tmp_path / ("y" * 120)).ray_temp != long.ray_temp


@pytest.mark.parametrize("name", ["müller", "josé", "家"])
def test_ray_gets_a_path_that_it_can_write_whatever_home_is_called(tmp_path: Path, name: str) -> None:
    layout = Layout(Path("/home") / name / ".agon")
    assert str(layout.ray_temp).isascii()
    assert Layout(Path("/home/a b#c%2Fd?e&f")).ray_temp == Path("/home/a b#c%2Fd?e&f/ray"), (
        "ASCII is fine, whatever it means in URLs"
    )


@pytest.mark.parametrize("name", ["100% b", "feature%2Fx", "a?b=c", "a#b", "ä ö", "a&b@c:d"])
def test_the_database_lies_in_home_whatever_home_is_called(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    database = Database(Settings(home=home).database_url)
    upgrade(database)
    database.close()
    assert {path.name for path in tmp_path.iterdir()} == {name}
    assert (home / "agon.db").is_file()


@pytest.mark.parametrize("kind", ["a file", "below a file", "nothing may be made there"])
def test_an_unusable_home_is_named_as_what_it_is(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    home = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "x"}.get(kind, Path("/proc/agon"))
    with pytest.raises(HomeUnusable, match=r"AGON_HOME, .*, can't be used: .*AGON_HOME=/path/to/it agon up") as caught:
        Layout(home).create()
    assert str(home) in str(caught.value)


def test_a_busy_port_is_reported_with_its_owner_and_the_option_that_changes_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        found = busy(Ports(api=port, mlflow=free_ports(1)[0]), ["api", "mlflow"])
    assert [item.name for item in found] == ["api"]
    assert str(port) in found[0].line()
    assert "--api-port" in found[0].line()
    assert str(os.getpid()) in found[0].line()


def test_a_port_of_an_ipv6_address_is_looked_at_there() -> None:
    with socket.socket(socket.AF_INET6) as held:
        try:
            held.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        held.listen()
        port = held.getsockname()[1]
        assert [item.name for item in busy(Ports(api=port), ["api"], "::1")] == ["api"]
    assert busy(Ports(api=port), ["api"], "::1") == []


def test_port_zero_takes_free_and_different_ports() -> None:
    chosen = Ports(0, 0, 0, 1234, 0).resolved()
    assert chosen.gcs == 1234
    assert len({chosen.api, chosen.mlflow, chosen.dashboard, chosen.serve}) == 4
    assert 0 not in (chosen.api, chosen.mlflow, chosen.dashboard, chosen.serve)


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    assert records.read(path) is None
    path.write_text('{"stack_id": 3')
    assert records.read(path) is None


def test_the_record_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    part = PartRecord(pid=1, create_time=2.0, url="http://127.0.0.1:1", log="x")
    record = StackRecord(
        stack_id="i",
        started_at="2026-01-01T00:00:00Z",
        host="127.0.0.1",
        ports={"api": 1},
        cpus=None,
        parts={"api": part},
    )  # type: ignore[arg-type]
    records.write(path, record)
    assert records.read(path) == record
    assert _mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path], "nothing is left aside"


def test_a_terminal_that_lacks_a_letter_of_home_is_no_reason_to_fail(tmp_path: Path) -> None:
    env = {**os.environ, "AGON_HOME": str(tmp_path / "höme"), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-m", "service.cli", "status"], env=env, capture_output=True, text=True)
    assert done.returncode == 1, "nothing runs"
    assert "h\\xf6me" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("port", ["70000", "-5"])
def test_a_port_that_is_none_is_refused_by_its_option(port: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "up", "--api-port", port], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--api-port" in done.stderr
    assert "than or equal to" in done.stderr
