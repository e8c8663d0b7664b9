"""What requests ask the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from service.context import Context
from service.elsewhere import Errand
from service.errors import NOT_CONFIGURED, Invalid, NotFound, Unavailable
from service.gateway.registry import (
    Registry,
    RegistryCursorError,
    RegistryMissingError,
    RegistryRefusedError,
    RegistryUnreachableError,
)
from trainer.spec import FieldError

T = TypeVar("T")
ALIAS_SECONDS = 0.5
"""For so long a process goes by what an alias meant when it began to ask MLflow. Who moves one is answered after that, so that it has moved
for everyone by then."""


async def ask(ctx: Context, errand: Errand, question: Callable[[Registry], T]) -> T:
    """The registry's answer; what it raises becomes a problem."""
    if ctx.registry is None:
        raise Unavailable("no MLflow is configured; set AGON_MLFLOW_URI", headers=NOT_CONFIGURED)
    try:
        return await ctx.elsewhere.mlflow.run(question, ctx.registry, errand=errand)
    except RegistryMissingError as error:
        raise NotFound(str(error)) from error
    except RegistryCursorError as error:
        fix = "use next_cursor as it was given"
        raise Invalid([FieldError(path="cursor", message=str(error), fix=fix)]) from error
    except RegistryRefusedError as error:
        raise Invalid([FieldError(path="", message=str(error))]) from error
    except RegistryUnreachableError as error:
        raise Unavailable(str(error)) from error
