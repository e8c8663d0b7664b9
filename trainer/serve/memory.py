"""What a replica keeps in memory, and which models go when it is too much. Knows no Ray but the shape of its record of models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from trainer.serve.neighbours import Searched
from trainer.serve.work import Model


class Kept(Protocol):
    """Ray Serve's own record of a replica's models, by which it finds the replica that has one."""

    models: OrderedDict[str, Model]
    """The least recently used first."""

    async def unload_model_lru(self) -> None:
        """Let the first one go. Whoever is using it still has it."""
        ...


class Data:
    """Training images that were read for neighbours, as long as a model that was trained on them is kept."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Model, Searched] = WeakKeyDictionary()
        self._named: WeakValueDictionary[tuple[object, ...], Searched] = WeakValueDictionary()

    def find(self, model: Model) -> Searched | None:
        """Those of the model, or of another one that was trained on the same."""
        found = self._of.get(model) or self._named.get(_name(model))
        if found is not None:
            self._of[model] = found
        return found

    def keep(self, model: Model, searched: Searched) -> None:
        """Keep them along with the model."""
        self._of[model] = self._named[_name(model)] = searched

    def size(self, models: Iterable[Model]) -> int:
        """Bytes of those of these models, each counted once."""
        return sum(searched.size for searched in {self._of[model] for model in models if model in self._of})


async def make_room(kept: Kept, data: Data, need: int, budget: int, spared: int = 0) -> None:
    """Let models go, the least recently used first, until `need` bytes more fit into the budget, or `spared` models are left."""
    while len(kept.models) > spared:
        models = list(kept.models.values())
        if sum(model.size for model in models) + data.size(models) + need <= budget:
            return
        await kept.unload_model_lru()


def _name(model: Model) -> tuple[object, ...]:
    spec = model.spec
    return () if spec is None else (spec.data.url, model.digest or spec.data.digest, spec.data.held_out, model.pixels)
