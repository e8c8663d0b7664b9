"""Whose checkpoint a registered version was made of: its tags say which job or trial trained it, and at which step."""

from __future__ import annotations

import re

from service.bodies.forks import From
from service.context import Context
from service.elsewhere import Errand
from service.errors import NOT_CONFIGURED, Invalid, Unavailable
from service.gateway.registry import (
    Registry,
    RegistryMissingError,
    RegistryRefusedError,
    RegistryUnreachableError,
    Version,
)
from trainer.spec import FieldError

JOB, TRIAL, STEP = "agon.job_id", "agon.trial", "agon.step"
CHAMPION = "champion"
PAGE = 200
_BEST = re.compile(r"(s-[0-9a-f]{12})-best-(t-[0-9]{5,10})-([0-9]{1,18})")
"""The id under which a search registers its best trial at a step."""


async def found(begun: From, ctx: Context, errand: Errand) -> From:
    """The same with the job or the trial, and the step, that the version was made of.

    Raises Invalid if there is no such version or nobody here trained it, Unavailable if the registry doesn't answer.
    """
    if ctx.registry is None:
        raise Unavailable(
            "no MLflow is configured, so no models are known; set AGON_MLFLOW_URI, or give the job",
            headers=NOT_CONFIGURED,
        )
    name, wanted = str(begun.model), begun.version or CHAMPION
    try:
        version = await ctx.elsewhere.mlflow.run(_version, ctx.registry, name, wanted, errand=errand)
    except (RegistryMissingError, RegistryRefusedError) as error:
        raise Invalid([FieldError(path="from.model", message=str(error), value=name)]) from error
    except RegistryUnreachableError as error:
        raise Unavailable(str(error)) from error
    if version is None:
        fix = f"GET /v1/models/{name}/versions lists them"
        raise Invalid([FieldError(path="from.version", message="no such version or alias", value=wanted, fix=fix)])
    whose = _whose(version.tags)
    if not whose:
        message = f"version {version.version} was trained by no job of this API, as far as its tags say"
        fix = "pull it, put the package below a data root, and fork that: from.package"
        raise Invalid([FieldError(path="from.model", message=message, value=name, fix=fix)])
    return begun.model_copy(update={**whose, "model": f"{name}/{version.version}", "version": None})


def _version(registry: Registry, name: str, wanted: str) -> Version | None:
    number = registry.model(name).aliases.get(wanted, wanted)
    cursor = None
    while True:
        versions, cursor = registry.versions(name, PAGE, cursor)
        for version in versions:
            if version.version == number:
                return version
        if cursor is None:
            return None


def _whose(tags: dict[str, str]) -> dict[str, object]:
    """Empty if nobody here."""
    job, step = tags.get(JOB, ""), tags.get(STEP, "")
    if best := _BEST.fullmatch(job):
        return {"trial": f"{best[1]}/{best[2]}", "checkpoint": int(best[3])}
    if not re.fullmatch(r"j-[a-z0-9-]{1,38}", job):
        return {}
    return {"job": job, "checkpoint": int(step) if re.fullmatch(r"[0-9]{1,18}", step) else "latest"}
