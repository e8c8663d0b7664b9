"""Body of `POST /v1/plans`."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from service.jobs.schemas import JobRequest


class PlanRequest(JobRequest):
    """A job as `POST /v1/jobs` takes it, and what it is to be planned for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"recipe": "dcgan-digits", "gpus": 8, "gpu": "h100"}, {"recipe": "dcgan-digits"}]
        }
    )

    gpus: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Workers, one device each; null: `resources.workers`."""
    gpu: Annotated[str, Field(max_length=20)] | None = None
    """A device's name (h100, h200, a100-40, a100-80, v100, v100-32, l4, rtx4090, cpu); null: what the cluster has, as far as it is
    known, else h100 for GPU workers and a CPU of unknown memory for others."""
