"""Refusals, counted where they are alike, so that no flood of them fills the database or holds up those who are let in.

They are kept in the process and written every second in one transaction: a process that is killed loses those of its last second.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from service.audit import store
from service.audit.store import Record
from service.db.session import Database

MINUTE = 60
MOST = 500
"""Different ones of a minute and a process; beyond that they are counted by action and status alone."""
MOST_OF_ONE = 60
"""The same of one token, or of one address without one; beyond that their targets aren't told apart."""
Key = tuple[object, ...]
logger = logging.getLogger("agon.audit")


class Refusals:
    """Those that are to be written. Thread-safe; one per application."""

    def __init__(self, db: Database) -> None:
        self._db, self._lock, self._writing = db, threading.Lock(), threading.Lock()
        self._new: dict[Key, Record] = {}
        self._minute = 0
        self._known: dict[Key, int | None] = {}
        """Of this minute: the id of the row that counts it; None: it isn't written yet."""
        self._of_one: Counter[str] = Counter()

    def count(self, record: Record) -> None:
        """Note one; written at the next `write`."""
        with self._lock:
            self._turn(record)
            record = self._bounded(record)
            key = record.alike()
            before = self._new.get(key)
            self._new[key] = record if before is None else replace(record, count=before.count + 1)
            self._known.setdefault(key, None)

    def _turn(self, record: Record) -> None:
        """Another minute begins anew."""
        minute = int(record.time.timestamp()) // MINUTE
        if minute != self._minute:
            self._minute = minute
            self._known = dict.fromkeys(self._new)
            self._of_one.clear()

    def _bounded(self, record: Record) -> Record:
        if record.alike() in self._known:
            return record
        one = record.token or record.peer
        if self._of_one[one] >= MOST_OF_ONE:
            record = replace(record, target="", kind="", detail=None)
            if record.alike() in self._known:
                return record
        if len(self._known) >= MOST:
            return record.nobodys()
        self._of_one[one] += 1
        return record

    def write(self) -> None:
        """Write what was counted before; in a thread. What the database can't take now is written at the next call."""
        with self._writing:  # whoever comes while another writes is to find it written
            self._write()

    def _write(self) -> None:
        with self._lock:
            new, known = self._new, dict(self._known)
            self._new = {}
        if not new:
            return
        try:
            written = store.count(self._db, [(record, known.get(key)) for key, record in new.items()])
        except Exception:
            logger.warning("refusals can't be written; trying again", exc_info=True)
            self._take_back(new)
            return
        self._remember(list(new), written)

    def _remember(self, keys: Sequence[Key], written: Sequence[int]) -> None:
        with self._lock:
            self._known.update((key, id_) for key, id_ in zip(keys, written, strict=True) if key in self._known)

    def _take_back(self, new: dict[Key, Record]) -> None:
        with self._lock:
            for key, record in new.items():
                later = self._new.get(key)
                self._new[key] = record if later is None else replace(later, count=later.count + record.count)
