"""Images prepared in as many processes as help, in order."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor

from trainer.data.files import Source
from trainer.data.prepare import Form, Prepared, prepare_all

CHUNK = 128
"""Images a worker process takes at once."""
SERIAL = 16 * CHUNK
"""Up to so many images, starting worker processes takes longer than doing it here."""
_given: list[tuple[Source, Form]] = []


def prepared_images(source: Source, files: Sequence[str], form: Form, workers: int) -> Iterator[Prepared | str]:
    """Each file as an image, or why there is none, in the files' order whatever the number of workers (0: one a core)."""
    chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
    workers = min(workers or _cores(), len(chunks))
    if workers == 1 or len(files) <= SERIAL:
        for chunk in chunks:
            yield from prepare_all(source, chunk, form)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that has threads (torch, Ray) can hang
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(source, form))
    waiting: deque[Future[list[Prepared | str]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_chunk, chunk))
            if len(waiting) > 4 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(source: Source, form: Form) -> None:
    """What a worker process needs once: a source may know a million names."""
    _given[:] = [(source, form)]


def _chunk(files: Sequence[str]) -> list[Prepared | str]:
    ((source, form),) = _given
    return prepare_all(source, files, form)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
