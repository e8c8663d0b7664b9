"""One question to an application on Ray Serve: waits for a replica, hands it on, and says why there is no answer.

A question changes nothing, so what was cut off is asked once more. Whoever asked and has gone is noticed: the connection to the proxy is
closed, and Serve cancels the work.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from service.elsewhere import Errand
from service.errors import NOT_CONFIGURED, Invalid, Late, NotFound, Problem, TooMany, Unavailable
from service.gateway.ray_serve import Answer, CutError, LateError, NoProxyError, RayServe
from service.runs.served import WORDS, Place, seconds_of
from service.serving.crowd import Crowd
from service.serving.places import Places
from service.settings import Settings
from trainer.serve.wire import TOKEN_HEADER, Reason, Refusal

LOOK_SECONDS = 0.25
"""How often a waiting question looks whether its client is still there, and whether there is a place by now."""
MARGIN_SECONDS = 15.0
"""Longer than the application's own limit with the load of a model: then it says itself what took so long."""
SOON = {"Retry-After": "2"}
STARTING = {"Retry-After": "5"}


class _AgainError(Exception):
    """There is no answer yet. `words`: why; `spent`: whether that may not happen a second time."""

    def __init__(self, words: str, *, spent: bool = False) -> None:
        super().__init__(words)
        self.words, self.spent = words, spent


class Asker:
    """One per application of ours. All methods belong to the event loop."""

    def __init__(self, serve: RayServe, places: Places, settings: Settings) -> None:
        self.places, self._serve, self._settings = places, serve, settings
        self._crowd = Crowd(settings.serve_waiting)

    @property
    def enabled(self) -> bool:
        """Whether anyone may ask."""
        return self._settings.serve

    async def ask(self, name: str, path: str, body: bytes, headers: Mapping[str, str], errand: Errand) -> Answer:
        """What that application answers, which is no refusal.

        Raises what it refuses with as a problem, Unavailable with Retry-After and the reason, TooMany, Late; ClientDisconnect.
        """
        if not self.enabled:
            raise Unavailable("AGON_SERVE is off here: nothing answers questions to models", headers=NOT_CONFIGURED)
        with self._crowd.one_more(errand.caller):
            return await self._ask(name, path, body, headers, errand)

    async def _ask(self, name: str, path: str, body: bytes, headers: Mapping[str, str], errand: Errand) -> Answer:
        loop = asyncio.get_running_loop()
        start, spent = loop.time() + self._settings.serve_start_seconds, False
        while True:
            place = await self._granted(name, start, errand)
            try:
                return await self._once(place, path, body, headers, errand, start)
            except _AgainError as error:
                self.places.forget(name)
                if (error.spent and spent) or (not error.spent and loop.time() >= start):
                    raise Unavailable(error.words, headers=SOON if error.spent else STARTING) from None
                spent = spent or error.spent
                await asyncio.sleep(LOOK_SECONDS)

    async def _granted(self, name: str, start: float, errand: Errand) -> Place:
        """Its place, once it has one. Raises Unavailable with the reason."""
        while True:
            place = await self.places.asked(name)
            if place.declared:
                return place
            if place.failed and (wait := _until(place.again_at)) > 0:
                raise Unavailable(place.reason, headers={"Retry-After": str(math.ceil(wait))})
            if asyncio.get_running_loop().time() >= start:
                raise Unavailable(_no_place(place), headers=STARTING)
            if await errand.gone():
                raise ClientDisconnect
            await asyncio.sleep(LOOK_SECONDS)

    async def _once(
        self, place: Place, path: str, body: bytes, headers: Mapping[str, str], errand: Errand, start: float
    ) -> Answer:
        """Raises _AgainError, Problem."""
        sent = {**headers, TOKEN_HEADER: f"Bearer {place.token}"}
        limit = self._settings.serve_start_seconds + seconds_of(place.name, self._settings) + MARGIN_SECONDS
        asking = asyncio.create_task(self._serve.ask(path, body, sent, limit))
        try:
            answer = await self._watched(asking, place.name, errand, start)
        except NoProxyError as error:
            raise _AgainError(f"Ray Serve starts: {error}") from error
        except CutError as error:
            raise _AgainError(str(error), spent=True) from error
        except LateError as error:
            raise Late(f"{error}; ask for less, or again later") from error
        finally:
            if not asking.done():
                asking.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await asking
        if answer.status < 300:
            return answer
        raise _refused(answer, place)

    async def _watched(self, asking: asyncio.Task[Answer], name: str, errand: Errand, start: float) -> Answer:
        """Its answer. Given up when the client is gone, or when the time for a start is over and no replica answers."""
        while not asking.done():
            await asyncio.wait({asking}, timeout=LOOK_SECONDS)
            if asking.done():
                break
            if await errand.gone():
                raise ClientDisconnect
            if asyncio.get_running_loop().time() >= start:
                place = await self.places.asked(name)
                if not place.running:
                    raise Unavailable(_no_replica(place), headers=STARTING)
        return asking.result()


def _until(moment: datetime | None) -> float:
    return 0.0 if moment is None else min((moment - datetime.now(UTC)).total_seconds(), 60.0)


def _no_place(place: Place) -> str:
    why = place.reason or "no reconciler has looked yet"
    return f"there is no place on the cluster for what answers {WORDS[place.name]}: {why}; ask again"


def _no_replica(place: Place) -> str:
    why = place.reason or f"{place.coming or 'no'} of {place.replicas} start{'s' if place.coming == 1 else ''}"
    return f"what answers {WORDS[place.name]} is not there yet: {why}; ask again"


def _refused(answer: Answer, place: Place) -> Exception:
    """What becomes of an answer that is none: of the application's own refusal, or of the proxy's."""
    refusal = _refusal(answer)
    if refusal is not None:
        return _problem(refusal)
    words = answer.content[:300].decode("utf-8", "replace").strip()
    if answer.status == 404:  # the proxy doesn't have the application yet
        return _AgainError(_no_replica(place))
    return _AgainError(f"Ray Serve could not answer ({answer.status}): {words}; ask again", spent=True)


def _refusal(answer: Answer) -> Refusal | None:
    try:
        return Refusal.model_validate_json(answer.content)
    except ValidationError:
        return None


def _problem(refusal: Refusal) -> Exception:
    """The same status, words, fields and time."""
    later = {} if refusal.retry_after is None else {"Retry-After": str(max(1, math.ceil(refusal.retry_after)))}
    match refusal.reason:
        case Reason.WRONG:
            return Invalid(list(refusal.errors), "question") if refusal.errors else _invalid(refusal.message)
        case Reason.MISSING:
            return NotFound(refusal.message)
        case Reason.FULL:
            return TooMany(refusal.message, headers=later)
        case Reason.AWAY:
            return Unavailable(refusal.message, headers=later)
        case Reason.LATE:
            return Late(refusal.message, headers=later)
        case Reason.STRANGER:  # it was declared anew, with another token
            return _AgainError("what answers was started anew just now; ask again", spent=True)
        case _:
            return Problem(refusal.message)


def _invalid(message: str) -> Invalid:
    problem = Invalid([], "question")
    problem.detail = message
    return problem
