"""Places for what answers questions to models, and Ray Serve as the rows want it (`served_rules` decides).

Calls to Serve start and stop processes, so they are made in a thread beside the rounds, by one reconciler at a time: it writes by when
it will have looked, and if it dies another looks then. While nobody uses any of it a round costs one read.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.db.session import Database
from service.db.tables import ServedApplication
from service.gateway.dashboard import RayUnreachableError
from service.gateway.ray_jobs import Node
from service.gateway.ray_serve import Application, RayServe, ServeRefusedError, ServeState, port_of
from service.reconciler import displacing, served_rules, turns
from service.reconciler.served_rules import Room
from service.runs import served
from service.runs.room import Need
from service.runs.served import FREED, LEAVING, STARTING, Place
from service.settings import Settings
from trainer.serve.wire import ServeArguments

LOOKING = timedelta(seconds=60)
"""By then a look has ended, or whoever looked is dead. One that takes longer is no harm: what is asked of Serve is the same twice."""
logger = logging.getLogger("agon.reconciler")


@dataclass(frozen=True)
class Order:
    """What Serve is to be like."""

    wanted: tuple[Application, ...]
    end: bool
    """Whether it is to end."""


@dataclass(frozen=True)
class Told:
    """What came of it."""

    order: Order
    state: ServeState | None
    """None: nothing is known."""
    trouble: str = ""
    refused: bool = False


def in_thread(work: Callable[[], None]) -> None:
    """Beside what goes on. It doesn't keep the process from ending."""
    threading.Thread(target=work, name="serve", daemon=True).start()


class Serving:
    """One per reconciler. `serve` None: there is no Serve to ask, and no place for anyone."""

    def __init__(
        self,
        db: Database,
        serve: RayServe | None,
        settings: Settings,
        clock: Callable[[], datetime],
        beside: Callable[[Callable[[], None]], None] = in_thread,
    ) -> None:
        self.db, self.serve, self.settings, self.clock, self._beside = db, serve, settings, clock, beside
        self._places: list[Place] = []
        self._told: list[Told] = []
        """At most one, from the thread."""
        self._looks = False

    def wants(self) -> bool:
        """Whether anyone is to get a place; read at the beginning of a round."""
        with self.db.read() as session:
            self._places = served.places(session)
        now = self.clock()
        return self._on and any(served_rules.asks(place, now, self.settings) for place in self._places)

    def look(self, nodes: Sequence[Node] | str | None, line: Sequence[Need] | None) -> None:
        """All that is due. nodes: the cluster, or why nothing is known of it; None: nobody looked. line: what those take that wait;
        None: that isn't known now."""
        if self.serve is None or all(
            place.asked_at is None and not place.held and not place.stop for place in self._places
        ):
            return
        now = self.clock()
        if self._told:
            self._settle(self._told.pop(), now)
        for place in self._places:
            if served_rules.idle(place, now, self.settings):
                self._write(place, unasked=not place.stop and self.settings.serve, phase=LEAVING)
            elif self._on and nodes is not None and line is not None and served_rules.asks(place, now, self.settings):
                self._grant(place, nodes, line, now)
        self._begin(now)

    @property
    def _on(self) -> bool:
        return self.settings.serve and self.serve is not None

    def _grant(self, place: Place, nodes: Sequence[Node] | str, line: Sequence[Need], now: datetime) -> None:
        if isinstance(nodes, str):
            self._explain(place, nodes)
            return
        one, most = served_rules.one_of(place.name, self.settings)
        with self.db.read() as session:
            taken = turns.count(session)
            runs = displacing.on_cluster(session, self.settings.late(now))
            kept = served.needs(session)
        room = Room(
            nodes, [item.run.need for item in runs if not item.run.late], kept, line, [item.id for item in runs]
        )
        found = served_rules.grant(room, one, most)
        if not found.replicas:
            self._explain(place, found.reason)
            return
        facts: dict[str, Any] = {
            "cpus": one.cpus,
            "gpus": one.gpus,
            "replicas": found.replicas,
            "token": secrets.token_urlsafe(32),
        }
        with self.db.begin() as session:  # who starts a run meanwhile has taken a turn, and is faster
            if not turns.take(session, taken):
                return
            facts |= {"phase": STARTING, "granted_at": now, "reason": "", "failed": False, "again_at": None}
            granted = served.change(session, place, **facts)
        if granted:
            logger.info("a place", extra={"facts": {"for": place.name, "replicas": found.replicas}})

    def _explain(self, place: Place, reason: str) -> None:
        if (place.reason, place.failed) != (reason, False):
            self._write(place, reason=reason, failed=False)

    def _write(self, place: Place, *, unasked: bool = False, **values: Any) -> None:
        with self.db.begin() as session:
            served.change(session, place, unasked=unasked, **values)

    # -- Serve

    def _begin(self, now: datetime) -> None:
        """Look at Serve, if that is due and nobody does."""
        with self.db.read() as session:
            self._places = served.places(session)
        end = served_rules.gone(self._places, now, self.settings)
        held = [place for place in self._places if place.held]
        if self._looks or not (end or held) or not self._due(self._places, now):
            return
        with self.db.begin() as session:
            if not self._due(_locked(session), now):
                return
            session.execute(update(ServedApplication).values(due_at=now + LOOKING))
        order = Order(tuple(self._application(place) for place in held if place.declared and not end), end)
        self._looks = True
        self._beside(lambda: self._carry_out(order))

    def _due(self, places: Sequence[Place], now: datetime) -> bool:
        """Whether nobody looks. A time that lies further ahead than anyone writes one is none."""
        return not any(place.due_at is not None and now < place.due_at <= now + LOOKING for place in places)

    def _carry_out(self, order: Order) -> None:
        try:
            self._told = [self._told_of(order)]
        except Exception as error:
            logger.exception("Ray Serve")
            self._told = [Told(order, None, f"the control plane has a problem with Ray Serve: {error}")]
        finally:
            self._looks = False

    def _told_of(self, order: Order) -> Told:
        assert self.serve is not None  # noqa: S101 — nothing is begun without
        try:
            if order.end:
                self.serve.shutdown()
                return Told(order, self.serve.state())
            state = self.serve.state()
            if state.there and state.port not in (None, port_of(self.settings.serve_url)):
                self.serve.shutdown()  # its proxy listens elsewhere, and never changes that
                state = self.serve.state()
            if _differs(state, order.wanted):
                self.serve.declare(order.wanted)
                state = self.serve.state()
            return Told(order, state)
        except ServeRefusedError as error:
            return Told(order, None, f"Ray Serve refuses it: {error}", refused=True)
        except RayUnreachableError as error:
            return Told(order, None, str(error))

    def _settle(self, told: Told, now: datetime) -> None:
        """Write what Serve said."""
        wanted = {item.name for item in told.order.wanted}
        ended = told.order.end and told.state is not None and not told.state.there
        with self.db.begin() as session:
            places = _locked(session)
            after = [self._after(place, told, wanted, ended=ended, now=now) for place in places]
            rows = [
                place._replace(**{name: value for name, value in values.items() if name in Place._fields})
                for place, values in zip(places, after, strict=True)
            ]
            due = now + served_rules.LATER if told.state is None else served_rules.next_look(rows, now, self.settings)
            for place, row, values in zip(places, rows, after, strict=True):
                if served_rules.changed(place, values):
                    served.change(session, place, **{**values, "due_at": due})
                elif row.due_at != due:
                    session.execute(
                        update(ServedApplication).where(ServedApplication.name == place.name).values(due_at=due)
                    )
        with self.db.read() as session:
            self._places = served.places(session)

    def _after(self, place: Place, told: Told, wanted: set[str], *, ended: bool, now: datetime) -> dict[str, Any]:
        if ended:
            waited = served.wanted(place, now, self.settings.serve_idle_seconds)
            forget = place.stop or not (place.held or waited)
            rest = {"reason": "", "failed": False, "stop": False, "asked_at": None, "again_at": None} if forget else {}
            return {**(FREED if not place.declared or place.stop else {}), **rest}
        if told.state is not None:
            return served_rules.settled(place, told.state, wanted, now)
        if not place.declared:
            return {}
        if told.refused and place.name in wanted:
            again = now + served_rules.AGAIN
            return {"phase": LEAVING, "failed": True, "reason": told.trouble, "again_at": again}
        return {"phase": STARTING, "running": 0, "coming": 0, "reason": told.trouble, "failed": False}

    def _application(self, place: Place) -> Application:
        settings = self.settings
        arguments = ServeArguments(
            token_digest=hashlib.sha256(place.token.encode()).hexdigest(),
            mlflow_uri=settings.mlflow_uri,
            cpus=place.cpus,
            gpus=place.gpus,
            replicas=place.replicas,
            memory=settings.serve_memory,
            idle_seconds=settings.serve_idle_seconds,
            seconds=served.seconds_of(place.name, settings),
            waiting=settings.serve_waiting,
            dtype=settings.serve_dtype,
            data_roots=settings.data_roots,
            private_hosts=settings.private_hosts,
        )
        return Application(place.name, arguments.model_dump(mode="json"))


def _locked(session: Session) -> list[Place]:
    """All rows, which nobody else changes before this transaction ends."""
    session.execute(select(ServedApplication.name).order_by(ServedApplication.name).with_for_update()).all()
    return served.places(session)


def _differs(state: ServeState, wanted: Sequence[Application]) -> bool:
    """Whether Serve has to be told what it is to run."""
    there = {name: dict(app.args) for name, app in state.applications.items() if app.status != "DELETING"}
    return there != {item.name: dict(item.args) for item in wanted}
