"""Processes that may die, or be held up, around each of their commits and of their calls to Ray."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.db.session import Database
from service.gateway.ray_jobs import RayUnreachableError
from service.reconciler.loop import Reconciler
from service.settings import Settings


class KilledError(BaseException):
    """The process dies here: no handler of the code under test may catch it."""


class Points:
    """What happens at one of the points that are reached from now on."""

    def __init__(self) -> None:
        self._left = -1
        self._what: Callable[[bool, bool], bool] = lambda holding, answered: True

    def arm(self, after: int, what: Callable[[bool, bool], bool]) -> None:
        """Do that at the point of that number; if it says no, at the next that suits it.

        It is told whether the point lies within a transaction, and whether Ray has done what it was asked.
        """
        self._left, self._what = after, what

    def disarm(self) -> None:
        """Nothing happens any more."""
        self._left = -1

    def reach(self, *, holding: bool = False, answered: bool = False) -> None:
        """One of them."""
        if self._left > 0:
            self._left -= 1
        elif self._left == 0:
            self._left = -1
            if not self._what(holding, answered):
                self._left = 0


class Watched:
    """A database whose every transaction that may write has a point before its commit, and one behind it."""

    def __init__(self, db: Database, points: Points) -> None:
        self.db, self.points = db, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    @contextmanager
    def begin(self, *, unseen: bool = False) -> Iterator[Session]:
        """See Database."""
        with self.db.begin(unseen=unseen) as session:
            yield session
            session.flush()
            self.points.reach(holding=True)
        self.points.reach()


class Reached:
    """Ray, with a point before each call, and one behind it."""

    def __init__(self, ray: Any, points: Points) -> None:
        self.ray, self.points = ray, points

    def __getattr__(self, name: str) -> Any:
        call = getattr(self.ray, name)

        def around(*given: Any) -> Any:
            self.points.reach()
            found = call(*given)
            self.points.reach(answered=True)
            return found

        return around


class Process:
    """A reconciler of its own."""

    def __init__(self, db: Database, ray: Any, settings: Settings, name: str, clock: Callable[[], datetime]) -> None:
        self.points, self.clock = Points(), clock
        watched, reached = Watched(db, self.points), Reached(ray, self.points)
        self.reconciler = Reconciler(watched, reached, settings, name, clock=clock)  # type: ignore[arg-type]
        self.held_since: datetime | None = None
        self._thread: threading.Thread | None = None
        self._here, self._go = threading.Event(), threading.Event()
        self._error: BaseException | None = None

    def round(self) -> None:
        """All that is due."""
        self.reconciler.round()

    def killed(self, after: int) -> bool:
        """A round in which it dies at that point; False if it came to its end before."""

        def die(*_: bool) -> bool:
            raise KilledError

        self.points.arm(after, die)
        try:
            self.round()
        except KilledError:
            return True
        finally:
            self.points.disarm()
        return False

    def unanswered(self, after: int) -> None:
        """A round in which the answer to one call is lost."""

        def lose(holding: bool, answered: bool) -> bool:
            if answered:
                raise RayUnreachableError("timed out")
            return False

        self.points.arm(after, lose)
        try:
            self.round()
        finally:
            self.points.disarm()

    def hold(self, after: int) -> None:
        """A round in which it is held up at that point, if it comes to it, until it goes on."""
        self._here.clear()
        self._go.clear()
        self.points.arm(after, self._wait)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._until_here()

    def go_on(self) -> None:
        """To the end of that round."""
        self._here.clear()
        self._go.set()
        self._until_here()

    def _wait(self, holding: bool, answered: bool) -> bool:
        if holding:  # the database wouldn't wait for it
            return False
        self.held_since = self.clock()
        self._here.set()
        self._go.wait()
        self.held_since = None
        return True

    def _run(self) -> None:
        try:
            self.round()
        except BaseException as error:
            self._error = error
        finally:
            self.points.disarm()
            self._here.set()

    def _until_here(self) -> None:
        self._here.wait()
        if self.held_since is None and self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
