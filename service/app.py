"""The composition root of the API: `uvicorn service.app:create_app --factory`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from service import errors
from service.access import callers
from service.access import store as tokens
from service.access.entry import Entry
from service.access.tokens import read_or_create
from service.access.uses import Uses
from service.audit.keeping import keep as keep_audit
from service.audit.stream import AuditHub
from service.audit.witness import Watch
from service.body import BodyReader
from service.context import Context
from service.db.migrate import upgrade
from service.db.session import Database
from service.db.times import database_time
from service.disk.gauge import Gauge
from service.disk.watch import watch as watch_disk
from service.events.broadcast import Broadcast
from service.gateway.chosen import ray_of
from service.gateway.ray_jobs import RayJobs
from service.gateway.ray_serve import HttpRayServe, RayServe
from service.gateway.registry import HttpRegistry, Registry
from service.http import Guard
from service.logs import configure
from service.mirror.loop import Mirror
from service.models.packages import Downloads
from service.monitoring.facts import Reader
from service.plans.planner import Planner
from service.plans.remote import RemotePlanner
from service.reconciler.clock import SteadyClock
from service.reconciler.loop import Reconciler
from service.reconciler.owner import new_owner
from service.repeats import key as repeat_key
from service.repeats.guard import Repeats
from service.routes import all_routes, shared
from service.runs.logstream import LogHub
from service.runs.noting import keep_told
from service.runs.stream import Hub
from service.serving.asker import Asker
from service.serving.places import Places
from service.serving.versions import Versions
from service.settings import Settings
from service.web.datasets.pictures import Pictures
from service.web.face import Face
from service.webhooks import addresses as webhook_addresses
from service.webhooks.dispatcher import Dispatcher
from service.webhooks.sending import HttpPost
from trainer import spans
from trainer.mirror.place import Place
from trainer.serve.questions import QUESTIONS

DESCRIPTION = """Agon trains generative adversarial networks as a service: post a job, follow it, pull the model.

Every call but the health checks needs `Authorization: Bearer TOKEN`, or the cookie of a browser session. Errors are RFC 9457 problem documents
(`application/problem+json`) that name every wrong field and the fix."""


KEEP_THEIR_KEY = ("/v1/jobs", "/v1/searches")
"""Submissions: the key is in the row of the run that it made, written with it or not at all, as long as there is that run."""
CHANGE_NOTHING = (
    "/v1/validate",
    "/v1/searches/validate",
    "/v1/plans",
    "/v1/forecast",
    *("/v1/models/{name}/" + kind for kind in QUESTIONS),
)


STOP_SECONDS = 1.5
"""How long the end of the process waits for a round of the reconciler."""


def create_app(
    settings: Settings | None = None,
    ray: RayJobs | None = None,
    registry: Registry | None = None,
    planner: Planner | None = None,
    serve: RayServe | None = None,
) -> FastAPI:
    """The application. Gateways default to the real ones of the settings, settings to the environment."""
    settings = settings or Settings()
    configure(settings.log_level)
    spans.configure("agon-api")
    db = Database(settings.database_url)
    registry = registry or (HttpRegistry(settings.mlflow_uri) if settings.mlflow_uri else None)
    planner = planner or Planner(settings.plan_seconds)
    ray = ray or ray_of(settings)
    serve = serve or HttpRayServe(settings.ray_address, settings.ray_token_file, settings.serve_url)
    uses = Uses(db)
    door = Entry(db, settings, uses)
    hub, log_hub, broadcast = Hub(db), LogHub(db), Broadcast(db)
    watch = Watch(db)
    bell = threading.Event()
    asker = Asker(serve, Places(db, bell.set, settings.serve_idle_seconds), settings)
    parts_of = (
        hub,
        log_hub,
        broadcast,
        watch,
        AuditHub(db),
        planner,
        Gauge(settings),
        Reader(db),
        uses,
        door,
        asker,
        Versions(),
        RemotePlanner(asker),
        Pictures(),
        Downloads(),
    )
    tell = _both(hub.poke, broadcast.poke_all)
    ctx = Context(
        settings=settings, db=db, ray=ray, registry=registry, serve=serve, tell=tell, parts=parts_of, bell=bell
    )
    app = FastAPI(
        title="Agon",
        version="1",
        description=DESCRIPTION,
        lifespan=_lifespan(ctx),
        docs_url=None,
        redoc_url=None,
        routes=shared(),
        dependencies=[Depends(callers.permitted)],  # also of one that is not among `service.routes`
    )
    app.state.context = ctx
    errors.install(app)
    app.state.routes = all_routes()
    hours = settings.idempotency_hours
    repeat_key.describe(app, hours)
    app.add_middleware(Repeats, db=db, hours=hours, except_for=(*KEEP_THEIR_KEY, *CHANGE_NOTHING))
    bodies = BodyReader(settings.max_body_bytes)
    watch.learn(app.state.routes)
    app.add_middleware(Guard, bodies=bodies, hosts=settings.allowed_hosts, who=door, watch=watch)
    app.add_middleware(Face)
    return app


def _both(tell: Callable[[int], None], tell_all: Callable[[], None]) -> Callable[[int], None]:
    """Tells who follows the run of a number, and who follows all."""

    def both(number: int) -> None:
        tell(number)
        tell_all()

    return both


def _lifespan(ctx: Context) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(_prepare, ctx)
        tasks = [
            asyncio.create_task(ctx.of(Hub).run()),
            asyncio.create_task(ctx.of(LogHub).run()),
            asyncio.create_task(ctx.of(Broadcast).run()),
            asyncio.create_task(ctx.of(AuditHub).run()),
            asyncio.create_task(keep_audit(ctx.of(Watch), ctx.settings.audit_days)),
            asyncio.create_task(keep_told(ctx)),
            asyncio.create_task(ctx.of(Uses).run()),
            asyncio.create_task(watch_disk(ctx.of(Gauge), ctx.elsewhere, ctx.settings.disk_low)),
        ]
        stops = [_start_reconciler(ctx)] if ctx.settings.reconciler else []
        stops += [await run_in_threadpool(_start_webhooks, ctx)] if ctx.settings.webhooks else []
        stops += [_start_mirror(ctx)] if ctx.settings.mirror else []
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for stop in stops:
                await run_in_threadpool(stop)
            await run_in_threadpool(ctx.of(Watch).refusals.write)
            await run_in_threadpool(ctx.of(Planner).close)
            ctx.ray.close()
            await ctx.serve.aclose()
            ctx.serve.close()
            if ctx.registry:
                ctx.registry.close()
            ctx.db.close()

    return lifespan


def _prepare(ctx: Context) -> None:
    """Schema and token, before the first request."""
    upgrade(ctx.db)
    tokens.bootstrap(ctx.db, read_or_create(ctx.settings.token_file))


def _start_webhooks(ctx: Context) -> Callable[[], None]:
    """The same of what sends the messages of webhooks."""
    post, keep = HttpPost(webhook_addresses.access(ctx.settings)), timedelta(days=ctx.settings.webhooks_keep_days)
    clock, proxied = SteadyClock(database_time(ctx.db)), bool(ctx.settings.sso_header)
    return Dispatcher(ctx.db, post, keep, clock, proxied=proxied).start()


def _start_mirror(ctx: Context) -> Callable[[], None]:
    """The same of what keeps the second copy."""
    return Mirror(ctx.db, ctx.settings, partial(Place, ctx.settings.mirror)).start()


def _start_reconciler(ctx: Context) -> Callable[[], None]:
    """A thread beside the requests. Returns what stops it."""
    stopping = threading.Event()
    reconciler = Reconciler(ctx.db, ctx.ray, ctx.settings, new_owner(), changed=ctx.tell, serve=ctx.serve)
    thread = threading.Thread(target=reconciler.run, args=(ctx.bell, stopping), name="reconciler", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        ctx.bell.set()
        thread.join(timeout=STOP_SECONDS)  # one that hangs ends with the process, as in a crash: its leases run out

    return stop
