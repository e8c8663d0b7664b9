"""What a version can be asked for: by its tag, or by the spec of the job that trained it, for versions that are older than the tag."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job
from service.gateway.registry import JOB_TAG
from trainer.abilities import TAG, Abilities
from trainer.spec import JobSpec, SpecError, parse_spec


def of_version(session: Session, tags: Mapping[str, str]) -> Abilities | None:
    """None: nobody here knows."""
    if TAG in tags:
        try:
            return Abilities.model_validate_json(tags[TAG])
        except ValidationError:  # by another's hand
            return None
    raw = session.scalar(select(Job.spec).where(Job.id == tags.get(JOB_TAG, ""), Job.kind == "job"))
    try:
        return None if raw is None else _of_spec(session, parse_spec(raw))
    except SpecError:
        return None


def _of_spec(session: Session, spec: JobSpec) -> Abilities:
    kept = not (spec.publish and spec.publish.encoder is False)
    return Abilities.of_arch(spec.arch, _names(session, spec), encoder=spec.arch.encoder and kept)


def _names(session: Session, spec: JobSpec) -> tuple[str, ...]:
    """Of the classes, where the data are registered."""
    if not spec.arch.conditional:
        return ()
    for manifest in session.scalars(select(Dataset.manifest).where(Dataset.url == spec.data.url)):
        if spec.data.digest in (None, manifest["digest"]) and len(manifest["classes"]) == spec.arch.classes:
            return tuple(manifest["classes"])
    return ()
