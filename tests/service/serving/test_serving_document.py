"""docs/serving.md: what it asks is answered."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from askers import House

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import ROOT, blocks

import service.client
from service.client import Client
from service.gateway.ray_serve import Answer
from service.settings import Settings
from trainer.serve.questions import QUESTIONS, Form

BLOCKS = list(blocks((ROOT / "docs" / "serving.md",)))
TEXT = (ROOT / "docs" / "serving.md").read_text()


async def drawn(_path: str, body: bytes, _headers: Mapping[str, str]) -> Answer:
    """Images, as many as are asked for."""
    question = json.loads(body)
    if question["form"] != "npz":
        return Answer(200, b"a picture", {"content-type": Form(question["form"]).media_type})
    out = io.BytesIO()
    np.savez(out, images=np.zeros((question["n"], 8, 8, 1), np.uint8))
    return Answer(200, out.getvalue(), {"content-type": "application/x-npz"})


def test_the_python_example_runs(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    house.ready()
    house.serve.answer = drawn

    class Here(Client):
        def __init__(self) -> None:
            super().__init__("http://testserver", house.client.headers["Authorization"].removeprefix("Bearer "))
            self._connection.http = house.client

    monkeypatch.setattr(service.client, "Client", Here)
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in BLOCKS if block.language == "python")
    given: dict[str, Any] = {}
    exec(compile(block.text, str(block), "exec"), given)
    assert capsys.readouterr().out == "demo/2\n"
    assert given["images"].shape == (16, 8, 8, 1)
    assert (tmp_path / "walk.webp").read_bytes() == b"a picture"


def test_the_curl_example_is_answered(house: House) -> None:
    house.ready()
    house.serve.answer = drawn
    (line,) = (block.text for block in BLOCKS if "curl" in block.text)
    words = shlex.split(line.replace("\\\n", " "))
    path = next(word for word in words if "/v1/" in word).removeprefix("localhost:8700")
    reply = house.client.post(path, json=json.loads(words[words.index("-d") + 1]))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")


def test_it_names_every_question_and_every_setting() -> None:
    for name in QUESTIONS:
        assert f"| `{name}` |" in TEXT
    named = set(re.findall(r"AGON_SERVE\w*", TEXT))
    known = {f"AGON_{name.upper()}" for name in Settings.model_fields if name.startswith("serve")}
    assert named <= known
