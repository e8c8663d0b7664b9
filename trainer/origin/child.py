"""The shapes that new nets will have, from a process of its own, for those that have no torch: the control plane, a job's driver."""

from __future__ import annotations

import json
from typing import Any

from trainer.child import Started, ask
from trainer.origin.fit import Part
from trainer.spec import FieldError, JobSpec, SpecError


class ShapesFailedError(Exception):
    """The child ended without an answer; a bug of ours, or no memory for it."""


def parts_in_child(spec: JobSpec, *, seconds: float, started: Started = lambda process: None) -> dict[str, Part]:
    """`trainer.origin.nets.parts` of the spec's nets, of which nothing is allocated. The child is ended after so many seconds.

    started: told of the process, so that others can end it.
    Raises SpecError if the nets can't be built, TimeoutError, ShapesFailedError.
    """
    said = ask(["trainer.origin"], spec.model_dump_json(), what="shapes", seconds=seconds, started=started)
    try:
        answer: dict[str, Any] = json.loads(said.text)
        errors = [FieldError.model_validate(error) for error in answer.get("errors", ())]
        read = {name: Part(tuple(shape), parameter) for name, (shape, parameter) in answer.get("parts", {}).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ShapesFailedError(said.last_words) from error
    if errors:
        raise SpecError(errors)
    return read
