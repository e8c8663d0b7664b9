"""What is made of the tape: each message once, and a replay is not undone by who was reading meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hooks import deliveries, found, hook, told

from service.db.session import Database
from service.webhooks import store
from service.webhooks.events import Happened, messages
from service.webhooks.gather import Gatherer, placed


@pytest.mark.databases
def test_a_replay_is_not_undone_by_who_had_read_the_place_before(db: Database) -> None:
    webhook, gatherer = hook(db), Gatherer(db, proxied=False)
    told(db, "queued")
    gatherer.gather()
    told(db, "running")
    placed(db)
    stale = found(db, webhook)
    with db.begin() as session:
        store.get(session, webhook, None, lock=True).place = 0
    assert gatherer._step(stale) is False
    assert (found(db, webhook).place, len(deliveries(db, webhook))) == (0, 1)


def test_what_is_only_noted_of_a_run_that_has_succeeded_registers_nothing_again() -> None:
    def types(before: str) -> list[str]:
        model = {"name": "digits", "version": "1", "champion": True}
        now = datetime.now(UTC)
        what = Happened("j-1", "job", "n", "ada", {}, 7, now, "succeeded", before, 1, "", model=model)
        return [message.type for message in messages(what)]

    assert types("running") == ["job.succeeded", "model.registered", "model.champion"]
    assert types("succeeded") == ["job.note"]
