"""`python -m service.reconciler`: a reconciler in a process of its own; any number may run beside each other."""

from __future__ import annotations

import signal
import threading

from prometheus_client import CollectorRegistry, start_http_server

from service import tallies
from service.db.migrate import upgrade
from service.db.session import Database
from service.gateway.chosen import ray_of
from service.gateway.ray_serve import HttpRayServe
from service.logs import configure
from service.reconciler.loop import Reconciler
from service.reconciler.owner import new_owner
from service.settings import Settings
from trainer import spans


def main() -> None:
    """Run until SIGTERM or SIGINT; the round that is under way is finished."""
    settings = Settings()
    configure(settings.log_level)
    spans.configure("agon-reconciler")
    db, ray = Database(settings.database_url), ray_of(settings)
    serve = HttpRayServe(settings.ray_address, settings.ray_token_file, settings.serve_url)
    upgrade(db)
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port, registry=_counted())
    bell, stopping = threading.Event(), threading.Event()

    def stop(_signal: int, _frame: object) -> None:
        stopping.set()
        bell.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    Reconciler(db, ray, settings, new_owner(), serve=serve).run(bell, stopping)
    ray.close()
    serve.close()
    db.close()


def _counted() -> CollectorRegistry:
    """What this process counts; the database's part is the API's to tell."""
    registry = CollectorRegistry()
    for collector in tallies.EVERY:
        registry.register(collector)
    return registry


if __name__ == "__main__":
    main()
