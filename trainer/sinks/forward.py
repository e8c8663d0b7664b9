"""Carries the spool's events to one receiver, in the background, in order, at least once.

A receiver that is away is tried again for as long as the job runs, at growing intervals; the events wait in the spool,
so that costs no memory. One that refuses for good (an unknown token, a deleted run) is left alone. Nothing here runs
in the training thread.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from trainer.sinks.spool import Spool, SpoolReader, read_cursor, write_cursor
from trainer.wire import WireEvent

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0
COMPLAIN_AFTER_FAILURES = 3
"""Failures in a row after which a person is told that the receiver is away."""


class UnavailableError(Exception):
    """The receiver can't be reached now; try again."""


class RefusedError(Exception):
    """The receiver will never take these events; stop trying. The message is for a person."""


class Forwarder:
    """A thread that delivers events numbered above its cursor. A subclass gives `deliver`."""

    receiver = "receiver"
    """What messages call it."""
    batch = 200
    """Events delivered at once, at most."""
    pace_seconds = 0.5
    """Time between two looks at the spool, so that events gather and other processes' events are found too."""

    def __init__(self, spool: Spool, cursor: Path) -> None:
        self.spool = spool
        self.cursor = cursor
        self.acked = read_cursor(cursor)
        self.complaints: queue.SimpleQueue[str] = queue.SimpleQueue()
        """Messages that a person should see; taken by whoever can show them."""
        self.refused = False
        self._reader = SpoolReader(spool.path.parent)
        self._closing = threading.Event()
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._run, name=f"to-{self.receiver}", daemon=True)

    def deliver(self, events: Sequence[WireEvent]) -> int:
        """Hand events over; return the number up to which the receiver has everything.

        Raises UnavailableError or RefusedError.
        """
        raise NotImplementedError

    def idle(self) -> None:
        """Called about every `pace_seconds` while there is nothing to deliver. May raise as `deliver` does."""

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def close(self, wait_seconds: float) -> bool:
        """Deliver what is left, for at most `wait_seconds`, and end. True if everything arrived."""
        self._deadline = time.monotonic() + wait_seconds
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(wait_seconds)
        return not self._thread.is_alive() and not self._reader.after(self.acked, 1)

    def _run(self) -> None:
        failures = 0
        while not self.refused:
            try:
                events = self._reader.after(self.acked, self.batch)
                if self._closing.is_set() and (not events or time.monotonic() >= self._deadline):
                    return
                self._once(events)
                failures = 0
                self._closing.wait(self.pace_seconds)
            except UnavailableError as error:
                failures += 1
                self._failed(error, failures)
            except RefusedError as error:
                self.refused = True
                self._complain(f"{error}; events stay in {self.spool.path.name}")
            except Exception as error:  # a full disk, an answer nobody foresaw: this thread must outlive it
                logger.debug("delivery to %s failed", self.receiver, exc_info=True)
                failures += 1
                self._failed(error, failures)

    def _once(self, events: Sequence[WireEvent]) -> None:
        if not events:
            self.idle()
            return
        self.spool.sync()  # the receiver must never know an event that this disk can still lose
        acked = self.deliver(events)
        # A closing thread that nobody waited for must not undo what its successor has delivered meanwhile.
        outrun = self._closing.is_set() and acked < read_cursor(self.cursor)
        if acked != self.acked and not outrun:
            write_cursor(self.cursor, acked)
        self.acked = acked

    def _failed(self, error: Exception, failures: int) -> None:
        if failures == COMPLAIN_AFTER_FAILURES:
            self._complain(f"{self.receiver} is away ({error}); training goes on and events wait in the spool")
        delay = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 10))
        delay *= random.uniform(0.5, 1.0)  # noqa: S311 — spreads load, no secret
        if self._closing.wait(delay):
            time.sleep(max(0.0, min(FIRST_RETRY_SECONDS, self._deadline - time.monotonic())))

    def _complain(self, message: str) -> None:
        logger.warning("%s", message)
        self.complaints.put(message)
