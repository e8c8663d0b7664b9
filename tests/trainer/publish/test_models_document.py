"""The documents' Python that uses a published model is run on one: as written, but for the device and the largest number."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas
import pytest
import safetensors.torch
import torch
from biggan_theirs import CLASSES, biggan, discriminator
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

from pages import PAGES, ROOT, Block, blocks

from trainer.publish.__main__ import app

OWN = ("webhooks.md",)
"""Whose example has a test of its own, and no model."""
EXAMPLES = [
    block
    for block in blocks()
    if block.language == "python"
    and not block.info
    and "service.client" not in block.text
    and block.page.name not in OWN
]
SMALLER = {'"cuda"': '"cpu"', "1_000_000": "300"}
"""What this machine may lack, and what would take long."""
OF_D = "trainer.publish.discriminator"


def needed(block: Block) -> str:
    """The fixture with a model that the example is about."""
    if '"c1"' in block.text:
        return "infogan"
    return "encoding" if '"encode"' in block.text else "conditional"


@pytest.fixture(scope="module")
def infogan(packaged: Any) -> Any:
    """With the codes of the recipe, as the paper has them."""
    return packaged(
        "infogan-digits", {"resolution": 8, "g_width": 4, "d_width": 4, "g_hidden": 8, "d_hidden": 8, "q_hidden": 4}
    )


@pytest.mark.parametrize("block", [block for block in EXAMPLES if OF_D not in block.text], ids=str)
def test_an_example_of_a_model_runs(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, block: Block
) -> None:
    model = request.getfixturevalue(needed(block))
    load = mlflow.pyfunc.load_model
    monkeypatch.setattr(mlflow.pyfunc, "load_model", lambda uri, **settings: load(str(model.folder), **settings))
    monkeypatch.setattr(mlflow, "set_tracking_uri", lambda uri: None)
    monkeypatch.chdir(model.folder)
    monkeypatch.syspath_prepend(str(model.folder))
    monkeypatch.delitem(sys.modules, "generator", raising=False)
    size, width = model.spec.arch.resolution, model.spec.arch.latent.width
    given: dict[str, Any] = {
        "mlflow": mlflow, "pandas": pandas, "torch": torch, "safetensors": safetensors, "labels": torch.arange(4), "z": torch.zeros(4, width),
        "images": np.zeros((4, size, size, 1), np.uint8),
    }  # fmt: skip
    if "load_model" not in block.text:
        given["model"] = load(str(model.folder))
    text = block.text.replace('"folder"', repr(str(model.folder)))
    for large, small in SMALLER.items():
        text = text.replace(large, small)
    exec(compile(text, str(block), "exec"), given)
    assert given["images"].shape[1:] in ((size, size, 1), (1, size, size))


@pytest.mark.long
def test_the_example_of_a_discriminator_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = (block for block in EXAMPLES if OF_D in block.text)
    monkeypatch.chdir(tmp_path)
    torch.save(biggan(attended=()), "G_ema.pth")
    torch.save(discriminator(), "D.pth")
    arguments = ["import", "biggan-pytorch", "G_ema.pth", "./biggan", "--discriminator", "D.pth"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    given: dict[str, Any] = {"Path": Path, "images": torch.zeros(2, 3, 32, 32), "labels": torch.arange(2) % CLASSES}
    exec(compile(block.text, str(block), "exec"), given)
    assert given["logits"].shape == (2,)


def test_every_example_of_a_model_stands_where_it_is_tried() -> None:
    assert {block.page for block in EXAMPLES} == {ROOT / "README.md", ROOT / "docs" / "models.md"} <= set(PAGES)
