"""An MNIST-like source of a few digits, and trainings of a few steps on it."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reproduce.images import MNIST
from service.client import Job
from trainer.data.source import Digits

COUNTS = {"train": 150, "valid": 40, "test": 60}


def digits_zip(path: Path) -> Path:
    """`train/<class>/<number>.png` and `test/…` of scikit-learn's digits; the validation images are the late numbers."""
    digits = Digits()
    names = digits.names()
    order = np.random.default_rng(0).permutation(len(names))
    with zipfile.ZipFile(path, "w") as archive:
        used = 0
        for split, count in COUNTS.items():
            for number, index in enumerate(order[used : used + count]):
                folder = "test" if split == "test" else "train"
                shown = number + (MNIST.validation_from if split == "valid" else 0)
                label = names[index].split("/")[0]
                archive.writestr(f"{folder}/{label}/{shown:05d}.png", digits.read(names[index]))
            used += count
    return path


class FakeApi:
    """Jobs as `service.client.Client` gives them; submitting with a known key gives the job of that key."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.keys: dict[str, Job] = {}

    def every_job(self, **filters: Any) -> Any:
        """Newest first, by name."""
        return iter([job for job in reversed(self.jobs) if job.name == filters["name"]])

    def submit(self, spec: Any, *, idempotency_key: str | None = None) -> Job:
        """A new job; as the API does, with the data's digest filled in."""
        if idempotency_key in self.keys:
            return self.keys[idempotency_key]
        raw = spec.model_dump(mode="json")
        raw["data"]["digest"] = "a" * 64
        job = Job(
            id=f"j-{len(self.jobs)}", name=spec.name, state="running", desired="run", attempt=1, reason="",
            spec=raw, spec_digest="b" * 64, created_at="2026-01-01T00:00:00Z", started_at=None, finished_at=None,
            failure=None, progress=None, mlflow_run_id=None, model=None, trial=None,
        )  # fmt: skip
        self.jobs.append(job)
        self.keys[str(idempotency_key)] = job
        return job

    def end(self, job: Job, state: str) -> None:
        """The job is in that state from now on."""
        self.jobs[self.jobs.index(job)] = job.model_copy(update={"state": state})
