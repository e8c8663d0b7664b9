"""When a token ends that someone makes, or gives another secret."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.access.tokens import Principal, Scope
from service.bodies.tokens import Rotation, TokenRequest
from service.errors import Forbidden, Invalid
from service.settings import Settings
from trainer.spec import FieldError


def of_new(asked: TokenRequest, settings: Settings, caller: Principal, now: datetime) -> datetime | None:
    """As asked for, else as late as may be; None: never. Raises Invalid for a time that is over, or later than may be.

    What is made with a token that ends doesn't outlive it, unless an administrator makes it.
    """
    latest = _latest(settings, now)
    if caller.scope is not Scope.ADMIN and caller.token_ends_at is not None:
        latest = caller.token_ends_at if latest is None else min(latest, caller.token_ends_at)
    return _within(asked, latest, now) or latest


def of_rotated(
    asked: Rotation, has: datetime | None, settings: Settings, caller: Principal, own: bool, now: datetime
) -> datetime | None:
    """The same of a token that ends then; without another wish it stays so. own: it is the one that the caller came with.

    Raises Invalid as before, and for a token that has expired; Forbidden for one that outlives the caller's own.
    """
    latest = _latest(settings, now)
    wish = _within(asked, latest, now)
    if caller.scope is not Scope.ADMIN:
        ends = caller.token_ends_at
        if not own and ends is not None and (has is None or has > ends):
            raise Forbidden(
                f"this token ends before that one does, on {ends:%Y-%m-%d}; use one that doesn't, or ask an administrator"
            )
        if wish is not None and has is not None and wish > has:
            fix = "leave it out, or ask an administrator"
            raise Invalid([_wrong(asked, f"is later than the token ends, {_text(has)}", fix)])
    kept = wish or has
    if kept is not None and kept <= now:
        fix = "make another token, or, as an administrator, give it a new expiry"
        raise Invalid([FieldError(path="expires_in", message=f"the token has expired on {_text(kept)}", fix=fix)])
    return latest if kept is None else kept if latest is None else min(kept, latest)


def _latest(settings: Settings, now: datetime) -> datetime | None:
    return None if settings.token_days is None else now + timedelta(days=settings.token_days)


def _within(asked: TokenRequest | Rotation, latest: datetime | None, now: datetime) -> datetime | None:
    """What was asked for. Raises Invalid."""
    try:
        wish = now + timedelta(seconds=asked.expires_in) if asked.expires_in is not None else asked.expires_at
    except OverflowError:
        raise Invalid([_wrong(asked, "is too far ahead", "leave it out for good")]) from None
    if wish is None:
        return None
    if wish <= now:
        raise Invalid([_wrong(asked, "is over", "use a time that lies ahead")])
    if latest is not None and wish > latest:
        raise Invalid(
            [_wrong(asked, f"is later than may be, {_text(latest)}", "leave it out for the latest that may be")]
        )
    return wish.astimezone(UTC)


def _wrong(asked: TokenRequest | Rotation, message: str, fix: str) -> FieldError:
    by_time = asked.expires_at is not None
    value = _text(asked.expires_at) if asked.expires_at is not None else f"{asked.expires_in or 0:g}"
    return FieldError(path="expires_at" if by_time else "expires_in", message=message, value=value, fix=fix)


def _text(when: datetime) -> str:
    return when.isoformat(timespec="seconds")
