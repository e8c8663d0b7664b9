"""Why a question gets no answer, as an exception on its way to the door. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from trainer.serve.wire import Reason, Refusal
from trainer.spec.errors import FieldError

T = TypeVar("T")


class RefusedError(Exception):
    """Carries what the asker is told."""

    def __init__(self, reason: Reason, message: str, *, after: float | None = None) -> None:
        self.refusal = Refusal(reason=reason, message=message, retry_after=after)
        super().__init__(message)


class WrongError(RefusedError):
    """The question doesn't fit the model."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(Reason.WRONG, "; ".join(error.line() for error in errors))
        self.refusal = self.refusal.replace(errors=tuple(errors))


def wrong(path: str, message: str, fix: str = "") -> WrongError:
    """One field that doesn't fit."""
    return WrongError([FieldError(path=path, message=message, fix=fix)])


def fitting(path: str, tell: Callable[[], T]) -> T:
    """What `tell` finds; its ValueError is that field's."""
    try:
        return tell()
    except ValueError as error:
        raise wrong(path, str(error)) from error
