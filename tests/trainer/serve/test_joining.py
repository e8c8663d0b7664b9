"""Rows of several requests in one forward: each gets its own results, little waits for little, and who goes takes the rest along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.serve.joining import Joiner, Rows, _dealt


@dataclass(eq=False)
class Doubling:
    """Doubles the first array and adds the second; says which chunks it had. `gate`: what a chunk waits for."""

    chunk: int
    chunks: list[list[int]] = field(default_factory=list)
    gate: Callable[[], object] = lambda: None

    def run(self, rows: Rows) -> np.ndarray:
        self.gate()
        assert 1 <= len(rows[0]) <= self.chunk
        self.chunks.append(rows[0].tolist())
        if -1 in rows[0]:
            raise ValueError("a row that can't be")
        return 2 * rows[0] + rows[1]


def rows(*numbers: int) -> Rows:
    return np.array(numbers), np.arange(len(numbers)) * 1000


def run(scenario):
    with ThreadPoolExecutor(1) as device:
        return asyncio.run(scenario(Joiner(device)))


@given(
    chunk=st.integers(1, 7),
    requests=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 20), st.integers(0, 3)), min_size=1, max_size=8),
)
def test_each_request_gets_the_results_of_its_own_rows_in_order_however_they_were_joined(chunk, requests):
    works = [Doubling(chunk), Doubling(chunk + 2)]

    async def scenario(joiner):
        async def one(number, work, n, pause):
            for _ in range(pause):
                await asyncio.sleep(0)
            own = rows(*range(100 * number, 100 * number + n))
            np.testing.assert_array_equal(await joiner.compute(works[work], own), 2 * own[0] + own[1])

        await asyncio.gather(*(one(number, *request) for number, request in enumerate(requests)))
        assert joiner.waiting == 0

    run(scenario)
    computed = sorted(row for work in works for chunk in work.chunks for row in chunk)
    assert computed == sorted(100 * i + j for i, (_, n, _) in enumerate(requests) for j in range(n))


@given(wanted=st.lists(st.integers(1, 50), min_size=1, max_size=12), room=st.integers(1, 64))
def test_a_chunk_is_filled_and_dealt_as_equally_as_what_is_wanted_allows(wanted, room):
    shares = _dealt(wanted, room)
    assert sum(shares) == min(room, sum(wanted))
    assert all(share <= want for share, want in zip(shares, wanted, strict=True))
    short = [share for share, want in zip(shares, wanted, strict=True) if share < want]
    assert not short or max(shares) - min(short) <= 1


def test_one_row_goes_with_the_next_chunk_beside_a_request_for_a_thousand():
    work = Doubling(4)

    async def scenario(joiner):
        large = asyncio.create_task(joiner.compute(work, rows(*range(1000))))
        while len(work.chunks) < 3:
            await asyncio.sleep(0.001)
        before = len(work.chunks)
        await joiner.compute(work, rows(5000))
        place = next(number for number, chunk in enumerate(work.chunks) if 5000 in chunk)
        assert place <= before + 2  # the one that was being computed, and perhaps one more that began meanwhile
        assert len(work.chunks[place]) == 4
        large.cancel()

    run(scenario)


def test_requests_of_other_models_take_turns():
    one, other = Doubling(2), Doubling(2)
    order: list[str] = []
    one.gate, other.gate = lambda: order.append("one"), lambda: order.append("other")

    async def scenario(joiner):
        await asyncio.gather(joiner.compute(one, rows(*range(6))), joiner.compute(other, rows(*range(6))))

    run(scenario)
    assert order == ["one", "other"] * 3


def test_a_cancelled_request_is_computed_no_further_and_others_get_theirs():
    started, go = threading.Event(), threading.Event()
    work = Doubling(2, gate=lambda: (started.set(), go.wait(10)))

    async def scenario(joiner):
        leaving = asyncio.create_task(joiner.compute(work, rows(*range(100))))
        staying = asyncio.create_task(joiner.compute(work, rows(500, 501)))
        await asyncio.to_thread(started.wait, 10)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        go.set()
        assert (await staying).tolist() == [1000, 2002]
        assert joiner.waiting == 0

    run(scenario)
    assert sum(row < 100 for chunk in work.chunks for row in chunk) <= 2


def test_a_chunk_that_fails_fails_whom_it_was_for_and_nobody_else():
    work = Doubling(2)

    async def scenario(joiner):
        first = await asyncio.gather(
            joiner.compute(work, rows(-1)), joiner.compute(work, rows(1, 2, 3)), return_exceptions=True
        )
        assert all(isinstance(found, ValueError) for found in first)
        assert (await joiner.compute(work, rows(7))).tolist() == [14]

    run(scenario)


def test_a_device_that_is_gone_fails_what_waits_instead_of_spinning():
    async def scenario():
        device = ThreadPoolExecutor(1)
        device.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            await asyncio.wait_for(Joiner(device).compute(Doubling(2), rows(1, 2, 3)), 10)

    asyncio.run(scenario())


def test_what_waits_is_told_in_seconds_by_how_long_chunks_took():
    go = threading.Event()
    work = Doubling(2, gate=lambda: go.wait(10))

    async def scenario(joiner):
        assert joiner.seconds() == 0.0
        go.set()
        await joiner.compute(work, rows(1))
        pace = next(iter(joiner._pace.values()))
        go.clear()
        waiting = asyncio.create_task(joiner.compute(work, rows(*range(10))))
        await asyncio.sleep(0.05)  # one chunk is being computed, four wait
        assert joiner.seconds() == pytest.approx(4 * pace)
        go.set()
        await waiting

    run(scenario)
