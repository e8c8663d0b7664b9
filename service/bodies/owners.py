"""Bodies about owners: the people whose runs they are, and what they may take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.bodies.base import Reply, Request, Tagged
from service.bodies.tokens import Role

EVERYONE = "*"
"""In a person's place: all who have no caps of their own."""
OWNER = r"^(\*|[A-Za-z0-9][A-Za-z0-9._@-]{0,63})$"
Most = Annotated[int, Field(ge=0, lt=2**31)] | None
Hours = Annotated[float, Field(ge=0, lt=2**31, allow_inf_nan=False)] | None


class _Caps(BaseModel):
    """The caps that there are: whatever speaks of them takes their names from here. In the database they are columns."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    running: Most = None
    """Jobs and searches on the cluster."""
    workers: Most = None
    """Workers of those, as many as they start with."""
    gpus: Most = None
    """GPUs of those workers."""
    gpu_hours_week: Hours = None
    """GPU-hours within the last seven days: once they are used, runs that take GPUs wait."""
    waiting: Most = None
    """Jobs and searches in the queue: another is refused."""


class CapsRequest(_Caps, Request):
    """What an owner may have at once; null: as much as there is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"running": 4, "gpus": 8, "waiting": 20}]})


class Caps(_Caps, Reply):
    """What an owner may have at once; null: as much as there is."""


class RoleRequest(Request):
    """The role that a person shall have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "user"}]})

    role: Role | None
    """The most that their tokens and sessions may do, and what they may do through a proxy's sign-on. null: what each token says, and
    through a proxy a viewer."""


class Use(Reply):
    """What an owner has now, of what has a cap."""

    running: int = 0
    workers: int = 0
    gpus: float = 0.0
    gpu_hours_week: float = 0.0
    waiting: int = 0


class Share(Reply):
    """What an owner has used and has in hand, and what that does to a run of the usual priority that they submit now."""

    cpu_hours: float
    """Used, of which half counts no more after a week."""
    gpu_hours: float
    used_hours: float
    """The same in hours of the whole cluster, by that of the two of which it is more."""
    held_hours: float
    """An hour for each run that waits or is on the cluster, as far as it fills the cluster."""
    delay_hours: float
    """It counts as submitted so much later."""


class Owner(Tagged):
    """A person, or `*` for all who have no caps of their own."""

    name: str
    caps: Caps
    """Those that apply."""
    own: bool
    """Whether they are this owner's; else they are those of `*`."""
    use: Use
    role: str | None = None
    """The most that anything of theirs may do: admin, user or viewer. Null: nobody has set it; a token may do what it says, and who
    comes through a proxy's sign-on is a viewer."""
    share: Share | None = None
    """Null: the cluster was never seen, or fair share is switched off; in a list; and of `*`."""
