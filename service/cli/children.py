"""agon data, train, plan, pull, sample, import: what needs torch runs as `python -m trainer.…` in this process's place and terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import typer

from service.cli import pulled, remote
from service.cli.output import Exit, fail, note
from trainer.commandline import PROGRAM

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def data(context: typer.Context) -> None:
    """Pack images into shards (`agon data pack SOURCE [OUT]`) and check shards (`agon data check URL`).

    Examples:

    - `agon data pack photos.zip --resolution 64` (into AGON_HOME/data, where jobs of the local stack may read)
    - `agon data pack builtin:digits shards/`
    - `agon data check shards/`
    """
    _become("agon data", "trainer.data", context.args)


def train(context: typer.Context) -> None:
    """Train in this process, without any service; resumes where it was stopped.

    Examples:

    - `agon train dcgan-digits --set train.images=20000 --out runs/try`
    - `agon train job.yaml`
    - `agon train --from runs/try --weights --set objective.loss=hinge --out runs/tuned` (another run's nets to begin with)
    """
    _become("agon train", "trainer.launch.local", context.args)


def plan(context: typer.Context) -> None:
    """Say what a spec will cost before it runs: parameters, FLOPs, memory by part, the micro-batch that fits, traffic, time.

    Works for any number of GPUs on a laptop; nothing is computed or allocated.

    Examples:

    - `agon plan dcgan-64`
    - `agon plan biggan-imagenet128 --gpus 8 --gpu v100`
    - `agon plan job.yaml --gpu h100 --set train.micro_batch=64 --json`
    - `agon plan --calibrate` (measures this machine's CPU, so that its times are its own)
    - `agon plan dcgan-64 --calibrate` (and each operation of this spec: the closest there is)
    """
    _become("agon plan", "trainer.plan", context.args)


def pull(context: typer.Context) -> None:
    """Download a model from the registry: `agon pull MODEL[@alias] OUT`.

    It comes from MLflow; with `--api`, or where AGON_URL is set and no MLflow is, through the API, with your token alone:
    `agon pull --api --help`.

    Examples:

    - `agon pull demo@champion ./demo`
    - `agon pull demo ./demo`
    - `agon pull demo/3 ./demo --api`
    """
    if pulled.wanted(context.args):
        pulled.run(context.args)
        return
    _become("agon", "trainer.publish", ["pull", *context.args])


def sample(context: typer.Context) -> None:
    """Draw images from a registered model, or a pulled folder: `agon sample MODEL[@alias] -n 64 --out grid.png`.

    `--out FOLDER/` writes each image as a PNG of its own, a batch at a time, however many they are.

    Families have controls of their own: labels, latent codes (InfoGAN), an encoder (BiGAN, autoencoders).

    With `--remote` the cluster draws, and this machine needs neither torch nor the model: `agon sample --remote --help`.

    Examples:

    - `agon sample demo@champion -n 64 --seed 7 --out grid.png`
    - `agon sample demo@champion --labels 0,1,2 --out grid.png` (or by name: `--labels cat,dog`)
    - `agon sample demo@champion -n 50000 --labels balanced --out images/` (000000.png …, and labels.csv)
    - `agon sample infogan --traverse c1 --out digits.png` (c1 from left to right, each row another noise)
    - `agon sample infogan --code c1=3 --code c2=-1:1:10 --traverse c3 --out plane.png` (c2 to the right, c3 downwards)
    - `agon sample bigan --encode photos/ --out reconstructions.png` (images above G(E(x)); `--latents z.npz` keeps the codes)
    - `agon sample bigan --from-latents z.npz --out again.png`
    - `agon sample demo --remote --path 1,2,3 --out walk.webp`
    """
    if remote.FLAG in context.args:
        remote.run([word for word in context.args if word != remote.FLAG])
        return
    _become("agon", "trainer.publish", ["sample", *context.args])


def import_(context: typer.Context) -> None:
    """Make a package of a generator that other code has trained: `agon import biggan-pytorch FILE OUT`.

    `biggan-pytorch` is the authors' PyTorch code of BigGAN and BigGAN-deep; FILE is its G.pth or G_ema.pth, or a TF-Hub
    model by its converter. It is read as tensors alone; docs/models.md lists what is taken. `agon sample OUT` then draws images.

    Examples:

    - `agon import biggan-pytorch G_ema.pth ./biggan`
    - `agon import biggan-pytorch G_ema.pth ./biggan --name biggan-128`
    - `agon import biggan-pytorch G_ema.pth ./biggan --norm-eps 1e-4` (a training's `--BN_eps`)
    - `agon import biggan-pytorch G_ema.pth ./biggan --discriminator D.pth` (the package holds D, too)
    """
    _become("agon", "trainer.publish", ["import", *context.args])


import_.__name__ = "import"  # the verb, which as a keyword can't be the function's name in code


def _become(program: str, module: str, arguments: list[str]) -> NoReturn:
    """Replace this process by `python -m module`, so that terminal, signals and exit code are the child's own.

    program: what was typed, up to the words that the module knows itself.
    """
    env = dict(os.environ)
    offline = (
        arguments[:1] == ["import"]
        or bool({"-h", "--help"} & set(arguments))
        or any((Path(word) / "config.json").is_file() for word in arguments[1:])
    )
    if module == "trainer.publish" and not env.get("MLFLOW_TRACKING_URI"):
        # A folder among the words need not be the model: it may be what `pull` is to make, or images to encode.
        uri = known_tracking_uri() if offline else tracking_uri()
        env.update({"MLFLOW_TRACKING_URI": uri} if uri else {})
    become(program, module, arguments, env)


def become(program: str, module: str, arguments: list[str], env: dict[str, str]) -> NoReturn:
    """Replace this process by `python -m module` with that environment, which calls itself `program`."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], env | {PROGRAM: program})  # noqa: S606 — an argument list, no shell


def known_tracking_uri() -> str | None:
    """MLflow's address, if one is known: AGON_MLFLOW_URI, or that of the local stack while it runs."""
    from service.stack import record as records
    from service.stack.layout import Layout, home_from_env

    if uri := os.environ.get("AGON_MLFLOW_URI"):
        return uri
    found = records.read(Layout(home_from_env()).record)
    running = found is not None and "mlflow" in found.parts and found.parts["mlflow"].alive
    return found.parts["mlflow"].url if found is not None and running else None


def tracking_uri() -> str:
    """MLflow's address: AGON_MLFLOW_URI, or the local stack's."""
    from service.stack import record as records
    from service.stack.layout import Layout, home_from_env

    if uri := os.environ.get("AGON_MLFLOW_URI"):
        return uri
    found = records.read(Layout(home_from_env()).record)
    if found is None or "mlflow" not in found.parts:
        fail("no model registry is known: start one with `agon up`, or set MLFLOW_TRACKING_URI", Exit.UNREACHABLE)
    if not found.parts["mlflow"].alive:
        note("MLflow of the local stack does not run; `agon up` starts it again")
    return found.parts["mlflow"].url
