"""Calls about searches and their trials."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.bodies.base import Page
from service.bodies.searches import Search, Trial, TrialDetail
from service.client import stream
from service.client.base import SUBMIT_SECONDS, Calls, label_words, part
from service.client.stream import Event
from trainer.search import SearchSpec, load_search

Searchable = SearchSpec | Mapping[str, Any] | Path | str
"""A search, a mapping (whose base may be `{recipe, set}`), or the path of a YAML or JSON file."""


class SearchCalls(Calls):
    """Part of `Client`."""

    def search(self, search: Searchable, *, idempotency_key: str | None = None) -> Search:
        """Submit a search. Raises Invalid with every wrong field; SpecError, OSError for a file.

        A key is made if none is given, so that trying again after a lost answer starts no second search.
        """
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._read(Search, "POST", "/v1/searches", body=_body(search), headers=headers, timeout=SUBMIT_SECONDS)

    def validate_search(self, search: Searchable) -> SearchSpec:
        """The resolved search, as `search` would start it. Raises as `search` does."""
        return self._read(SearchSpec, "POST", "/v1/searches/validate", body=_body(search))

    def searches(
        self,
        *,
        state: str | None = None,
        name: str | None = None,
        owner: str | None = None,
        labels: Mapping[str, str] | None = None,
        scores: Sequence[str] = (),
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Search]:
        """One page of searches, newest first; filters as in `jobs`, a search's score being that of its best trial."""
        marks = {"label": label_words(labels), "score": list(scores)}
        params = {"state": state, "name": name, "owner": owner, **marks, "limit": limit, "cursor": cursor}
        return self._read(Page[Search], "GET", "/v1/searches", params=params)

    def every_search(self, **filters: Any) -> Iterator[Search]:
        """All searches, page by page; filters as in `searches`."""
        cursor = None
        while True:
            page = self.searches(cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def get_search(self, search: str) -> Search:
        """One search, by id, with its best trial."""
        return self._read(Search, "GET", f"/v1/searches/{part(search)}")

    def cancel_search(self, search: str) -> Search:
        """Ask a search to save its trials and end. Raises Conflict once it has ended."""
        return self._read(Search, "POST", f"/v1/searches/{part(search)}/cancel")

    def pause_search(self, search: str) -> Search:
        """Ask a search to save its trials and leave the cluster until it is resumed. Raises Conflict once it has ended."""
        return self._read(Search, "POST", f"/v1/searches/{part(search)}/pause")

    def resume_search(self, search: str) -> Search:
        """Let a search that is paused, or has failed, go on. Raises Conflict while it still saves, and once it has ended otherwise."""
        return self._read(Search, "POST", f"/v1/searches/{part(search)}/resume")

    def extend(self, search: str, trials: int | None = None, *, budget: Mapping[str, Any] | None = None) -> Search:
        """Let a search that has ended or is paused go on to so many trials in all, or with another budget.

        Raises Conflict in another state, Invalid if that is not more.
        """
        body = {"trials": trials, "budget": dict(budget) if budget is not None else None}
        return self._read(Search, "POST", f"/v1/searches/{part(search)}/extend", body=body)

    def trials(
        self,
        search: str,
        *,
        state: str | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Trial]:
        """One page of its trials, best first; `order="number"`: as they were drawn."""
        params = {"state": state, "order": order, "limit": limit, "cursor": cursor}
        return self._read(Page[Trial], "GET", f"/v1/searches/{part(search)}/trials", params=params)

    def every_trial(self, search: str, **filters: Any) -> Iterator[Trial]:
        """All its trials, page by page; filters as in `trials`."""
        cursor = None
        while True:
            page = self.trials(search, cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def trial(self, search: str, trial: str) -> TrialDetail:
        """One trial, with the spec that it trains and its newest checkpoint."""
        return self._read(TrialDetail, "GET", f"/v1/searches/{part(search)}/trials/{part(trial)}")

    def stop_trial(self, search: str, trial: str) -> Trial:
        """Ask one trial to end; it keeps its score. Raises Conflict once it has ended."""
        return self._read(Trial, "POST", f"/v1/searches/{part(search)}/trials/{part(trial)}/stop")

    def search_report(self, search: str) -> bytes:
        """The newest report, one HTML page in UTF-8 that opens offline. Raises NotFound before the first."""
        return self._connection.call("GET", f"/v1/searches/{part(search)}/report").content

    def search_events(self, search: str, *, after: str | None = None) -> Iterator[Event]:
        """Every event of the search, then new ones as they come, as `events` does for a job. A pause doesn't end it."""
        path = f"/v1/searches/{part(search)}/events"
        return stream.events(self._connection, path, after, lambda: self.get_search(search).ended)

    def wait_search(self, search: str, *, on_event: Callable[[Event], object] | None = None) -> Search:
        """Wait until the search has ended."""
        for event in self.search_events(search):
            if on_event:
                on_event(event)
        return self.get_search(search)


def _body(search: Searchable) -> dict[str, Any]:
    if isinstance(search, Path | str):
        search = load_search(search)
    return {"search": search.model_dump(mode="json") if isinstance(search, SearchSpec) else dict(search)}
