"""`agon sample --remote` and `agon serve`: what is asked, and what is written."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.client.connection import Connection
from trainer.serve.questions import QUESTIONS, Form

ONE = {"name": "models", "state": "ready", "replicas": 1, "cpus": 1.0}
SERVING = {"enabled": True, "idle_seconds": 300.0, "applications": [ONE, {"name": "plans", "state": "off"}]}


class Asked:
    """Stands for the API: keeps what is asked, and answers with something of the right kind."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any], Any]] = []

    def __call__(self, method: str, path: str, *, params: Any = None, body: Any = None, **_: Any) -> httpx.Response:
        self.calls.append((method, path, dict(params or {}), body))
        if path == "/v1/serve":
            return httpx.Response(200, json=SERVING)
        question = QUESTIONS[path.rpartition("/")[2]].model_validate(json.loads(json.dumps(body)))
        form = question.form  # type: ignore[attr-defined]
        content = _zip() if form == "pngs" else f"a {form}".encode()
        return httpx.Response(
            200, content=content, headers={"content-type": Form(form).media_type, "agon-model": "demo/3"}
        )

    @property
    def last(self) -> tuple[str, dict[str, Any], Any]:
        """What was asked, of which version, and how."""
        _, path, params, body = self.calls[-1]
        return path.removeprefix("/v1/models/"), params, body


def _zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("000000.png", b"first")
        archive.writestr("000001.png", b"second")
    return out.getvalue()


@pytest.fixture
def asked(agon: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    found = Asked()
    monkeypatch.setenv("AGON_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AGON_TOKEN", "t")
    monkeypatch.setattr(Connection, "call", lambda _self, *given, **options: found(*given, **options))
    monkeypatch.chdir(tmp_path)
    return found


@pytest.mark.parametrize(
    ("words", "path", "params", "body"),
    [
        ("demo", "demo/generate", {}, {"n": 64, "seed": 0}),
        ("demo@best -n 4 --seed 7", "demo/generate", {"alias": "best"}, {"n": 4, "seed": 7}),
        ("demo/3 -n 4 --truncation 0.5", "demo/generate", {"version": "3"}, {"n": 4, "truncation": 0.5}),
        ("demo -n 5 --labels cat,2", "demo/generate", {}, {"labels": ["cat", "cat", "cat", "2", "2"], "columns": 3}),
        ("demo --labels balanced", "demo/generate", {}, {"labels": "balanced"}),
        ("demo --code c1=3 --code c2=-0.5", "demo/generate", {}, {"codes": {"c1": 3.0, "c2": -0.5}}),
        ("demo --traverse c1 -n 3", "demo/traverse", {}, {"code": "c1", "rows": 3}),
        (
            "demo --path 1,2,1 --frames 8 --labels cat",
            "demo/path",
            {},
            {"seeds": [1, 2, 1], "frames": 8, "label": "cat"},
        ),
        ("demo --neighbours 5", "demo/neighbours", {}, {"n": 8, "k": 5}),
    ],
)
def test_options_become_a_question(
    agon: Callable[..., Any], asked: Asked, words: str, path: str, params: dict[str, Any], body: dict[str, Any]
) -> None:
    done = agon("sample", *words.split(), "--remote", "--out", "x.png")
    assert done.code == 0, done.err
    told_path, told_params, told_body = asked.last
    assert (told_path, told_params) == (path, params)
    assert body.items() <= told_body.items()
    assert told_body["form"] == "png"
    assert Path("x.png").read_bytes() == b"a png"
    assert done.out == "x.png\n"
    assert "version 3 of demo" in done.err


@pytest.mark.parametrize(("name", "form"), [("a.webp", "webp"), ("a.npz", "npz"), ("a.zip", "pngs"), ("many/", "pngs")])
def test_the_files_name_says_what_comes(agon: Callable[..., Any], asked: Asked, name: str, form: str) -> None:
    assert agon("sample", "demo", "--remote", "--out", name).code == 0
    assert asked.last[2]["form"] == form
    if name == "many/":
        assert {path.name: path.read_bytes() for path in Path("many").iterdir()} == {
            "000000.png": b"first",
            "000001.png": b"second",
        }


def test_images_of_a_folder_are_sent_as_they_are(agon: Callable[..., Any], asked: Asked) -> None:
    Path("photos").mkdir()
    for name in ("b.jpg", "a.png", "notes.txt"):
        (Path("photos") / name).write_bytes(name.encode())
    assert agon("sample", "demo", "--remote", "--encode", "photos", "--out", "x.png").code == 0
    path, _, body = asked.last
    assert (path, [base64.b64decode(image) for image in body["images"]]) == ("demo/reconstruct", [b"a.png", b"b.jpg"])
    assert agon("sample", "demo", "--remote", "--encode", "photos", "--out", "z.npz").code == 0
    assert asked.last[0] == "demo/encode"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--out x.exe", "--out x.exe"),
        ("--out x.png --path a,b", "--path a,b"),
        ("--out x.png --path 1,2 --traverse c1", "different pictures"),
        ("--out x.png --frames 3", "--frames"),
        ("--out x.png --traverse c1 --labels cat,dog", "room for one"),
        ("--out x.png --code c1=0..9", "--code c1=0..9"),
        ("--out x.png --encode no-such.png", "no-such.png"),
        ("", "--out"),
    ],
)
def test_what_can_not_be_asked_is_said_before_anything_is(
    agon: Callable[..., Any], asked: Asked, words: str, says: str
) -> None:
    done = agon("sample", "demo", "--remote", *words.split())
    assert done.code in (1, 2)
    assert says in done.err.replace("\n", " ")
    assert asked.calls == []


def test_serve_alone_shows_what_runs_and_stop_ends_it(agon: Callable[..., Any], asked: Asked) -> None:
    shown = agon("serve")
    assert "models" in shown.out
    assert "1 CPU" in shown.out
    assert asked.calls[-1][:2] == ("GET", "/v1/serve")
    assert json.loads(agon("serve", "stop", "--json").out)["applications"][0]["state"] == "ready"
    assert asked.calls[-1][:2] == ("DELETE", "/v1/serve")


def test_an_error_is_the_commands_exit_code(agon: Callable[..., Any], asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = agon("sample", "demo", "--remote", "--encode", str(tmp_path / "empty"), "--out", "x.png")
    assert (done.code, "holds no images" in done.err) == (2, True)
