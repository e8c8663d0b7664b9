"""Plans in a child process, for those that have no torch: the control plane, and a job's driver. Torch-free."""

from __future__ import annotations

import json

from pydantic import ValidationError

from trainer.child import Started, ask
from trainer.plan.devices import Device
from trainer.plan.result import Plan
from trainer.spec import FieldError, JobSpec, SpecError


class PlanFailedError(Exception):
    """The child ended without a plan; a bug of ours, or no memory for it."""


def plan_in_child(
    spec: JobSpec,
    *,
    world: int,
    device: Device,
    seconds: float,
    started: Started = lambda process: None,
) -> Plan:
    """`trainer.plan.build.plan` in a process of its own, which is ended after so many seconds.

    started: told of the process, so that others can end it.
    Raises SpecError if the spec can't run on so many workers, TimeoutError, PlanFailedError.
    """
    command = ["trainer.plan", "-", "--json", "--gpus", str(world), "--gpu", device.name]
    command += ["--memory", str(device.memory)] if device.memory else []
    said = ask(command, spec.model_dump_json(), what="plan", seconds=seconds, started=started)
    try:
        if said.code == 0:
            return Plan.model_validate_json(said.text)
        errors = [FieldError.model_validate(error) for error in json.loads(said.text)["errors"]]
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise PlanFailedError(said.last_words) from error
    raise SpecError(errors)
