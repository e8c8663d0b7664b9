"""Models are loaded once for all who wait, a failure is told for a moment, and the least recently used go when memory is short."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest

from trainer.serve.memory import Data, make_room
from trainer.serve.neighbours import Searched
from trainer.serve.replica import KEPT
from trainer.serve.shelf import Shelf
from trainer.serve.work import Model

GONE = SimpleNamespace(config={"resolution": 8, "channels": 1})


def test_all_who_wait_for_one_wait_for_one_attempt_and_who_leaves_ends_nothing():
    attempts = []

    async def scenario():
        go = asyncio.Event()

        async def get(name):
            attempts.append(name)
            await go.wait()
            return name.upper()

        shelf = Shelf(get)
        waiting = [asyncio.create_task(shelf.get("a")) for _ in range(5)]
        other = asyncio.create_task(shelf.get("b"))
        await asyncio.sleep(0)
        waiting[0].cancel()  # the one whose request began it
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*waiting[1:], other) == ["A"] * 4 + ["B"]
        assert shelf.coming == 0

    asyncio.run(scenario())
    assert sorted(attempts) == ["a", "b"]


def test_a_failure_is_told_for_a_moment_and_then_tried_again():
    now, attempts = [0.0], []

    async def get(name):
        attempts.append(name)
        raise ConnectionError("away")

    async def scenario():
        shelf = Shelf(get, clock=lambda: now[0])
        for at, tried in ((0.0, 1), (0.9, 1), (1.1, 2)):
            now[0] = at
            with pytest.raises(ConnectionError):
                await shelf.get("a")
            assert len(attempts) == tried

    asyncio.run(scenario())


class Kept:
    """As Serve's record of a replica's models."""

    def __init__(self, **sizes: int) -> None:
        self.models = OrderedDict((name, Model(None, GONE, size, (1,), 1)) for name, size in sizes.items())

    async def unload_model_lru(self) -> None:
        self.models.popitem(last=False)


def test_the_least_recently_used_go_until_the_new_one_fits():
    kept = Kept(a=40, b=40, c=20)
    asyncio.run(make_room(kept, Data(), 30, 100))
    assert list(kept.models) == ["b", "c"]
    asyncio.run(make_room(kept, Data(), 40, 100))
    assert list(kept.models) == ["b", "c"]


def test_one_that_is_larger_than_the_budget_is_loaded_alone():
    kept = Kept(a=40, b=40)
    asyncio.run(make_room(kept, Data(), 1000, 100))
    assert not kept.models


def test_training_images_count_once_for_all_models_of_the_same_data_and_go_with_the_last():
    kept, data = Kept(a=10, b=10, c=10), Data()
    a, b, c = kept.models.values()
    searched = Searched(np.zeros((50, 1, 1, 1), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64), 50, ())
    data.keep(a, searched)
    assert data.find(b) is searched
    assert data.size([a, b, c]) == 50
    asyncio.run(make_room(kept, data, 0, 75, spared=1))
    assert list(kept.models) == ["b", "c"]
    asyncio.run(make_room(kept, data, 0, 20, spared=1))
    assert list(kept.models) == ["c"]
    del a, b, searched
    gc.collect()
    assert data.find(c) is None


def test_serves_own_record_of_models_is_what_is_relied_on():
    """A private name and shape of Ray Serve: if another release has others, this says so before a replica does."""
    from ray.serve import api, multiplex

    wrapper = multiplex._ModelMultiplexWrapper
    assert f'"{KEPT}"' in inspect.getsource(api.multiplexed)
    assert inspect.iscoroutinefunction(wrapper.unload_model_lru)
    assert "self.models = OrderedDict()" in inspect.getsource(wrapper.__init__)
    assert "self.models.move_to_end(model_id)" in inspect.getsource(wrapper.load_model)
    assert "self.models.popitem(last=False)" in inspect.getsource(wrapper.unload_model_lru)
