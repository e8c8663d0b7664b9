"""How a version is had elsewhere, to copy."""

from __future__ import annotations

from dataclasses import dataclass

from service.web.words import without_password
from trainer.abilities import Abilities


@dataclass(frozen=True)
class Snippet:
    """One way."""

    title: str
    text: str
    note: str


def snippets(name: str, can: Abilities | None, mlflow_uri: str | None, here: str) -> list[Snippet]:
    """Of a model's champion. here: where this server is reached."""
    labels = ', "labels": "balanced"' if can and can.classes else ""
    tracking = without_password(mlflow_uri) if mlflow_uri else "http://127.0.0.1:8701"
    size = f"{can.resolution}, {can.resolution}, {can.channels}" if can else "height, width, channels"
    called = "net(z, labels)  # labels int64 [n]" if can and can.classes else "net(z)"
    pyfunc = f"""import mlflow

mlflow.set_tracking_uri("{tracking}")
model = mlflow.pyfunc.load_model("models:/{name}@champion")
images = model.predict({{"n": 64, "seed": 0{labels}}})  # uint8 [64, {size}]"""
    program = f"""import safetensors.torch, torch

net = torch.export.load("{name}/program.pt2").module()
net.load_state_dict(safetensors.torch.load_file("{name}/model.safetensors"), assign=True)
images = {called}  # z float32 [n, Z]"""
    balanced = ', "labels": "balanced"' if labels else ""
    curl = f"""curl -fsS -H "Authorization: Bearer $AGON_TOKEN" -H 'Content-Type: application/json' \\
     -d '{{"n": 16, "seed": 7{balanced}}}' \\
     {here}/v1/models/{name}/generate -o {name}.png"""
    return [
        Snippet("Pull it", f"agon pull {name}@champion ./{name}", "every file is verified"),
        Snippet("In Python, by MLflow", pyfunc, "needs torch, numpy, safetensors, mlflow; not Agon"),
        Snippet("The program alone", program, "of a pulled folder; needs torch and safetensors"),
        Snippet("Ask it, by curl", curl, "the cluster draws"),
    ]
