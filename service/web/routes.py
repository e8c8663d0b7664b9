"""All pages, in the order in which they are looked at."""

from __future__ import annotations

from service.web import assets
from service.web.admin import audit, hooks
from service.web.admin import routes as admin
from service.web.compare import routes as compare
from service.web.datasets import routes as datasets
from service.web.models import routes as models
from service.web.queue import routes as queue
from service.web.run import routes as run
from service.web.runs import routes as runs
from service.web.searches import listing, trial
from service.web.searches import routes as searches
from service.web.signin import routes as signin
from service.web.submit import routes as submit

PARTS = (
    runs,
    run,
    compare,
    listing,
    searches,
    trial,
    signin,
    queue,
    admin,
    hooks,
    audit,
    models,
    submit,
    datasets,
    assets,
)
