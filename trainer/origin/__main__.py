"""`python -m trainer.origin`: a spec as JSON on stdin, the parts of its nets as JSON on stdout. See `trainer.origin.child`."""

from __future__ import annotations

import json
import sys
from typing import Any

from trainer.spec import JobSpec, SpecError


def main() -> None:
    """Answer `{"parts": {name: [shape, parameter]}}`, or `{"errors": […]}`."""
    from trainer.origin.nets import expected

    try:
        found = expected(JobSpec.model_validate_json(sys.stdin.read()))
        answer: dict[str, Any] = {"parts": {name: (part.shape, part.parameter) for name, part in found.items()}}
    except SpecError as error:
        answer = {"errors": [one.model_dump() for one in error.errors]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
