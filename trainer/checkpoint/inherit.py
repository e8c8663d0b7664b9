"""Beginning with the nets of another training's checkpoint, and with nothing else of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open

from trainer.checkpoint.manifest import STATE, verify
from trainer.engine.state import TrainState
from trainer.errors import BadSpecError
from trainer.origin.facts import shapes
from trainer.origin.fit import Fit, fit, nets_of
from trainer.origin.judge import LISTED, summary
from trainer.origin.nets import parts


def inherit(state: TrainState, checkpoint: Path, restart: Sequence[str] = ()) -> Fit:
    """Let the state begin with the nets and moving averages in `checkpoint`, once `engine.prepare` has made it ready.

    Optimisers and clock stay as they are. restart: what starts anew. An average that the checkpoint doesn't have begins at the net.
    Raises BadSpecError that lists what doesn't fit, CheckpointError for a damaged checkpoint.
    """
    verify(checkpoint)
    saved = shapes(checkpoint / STATE)
    found = fit(parts({name: player.net for name, player in state.players.items()}), nets_of(saved), restart)
    if found.problems:
        raise BadSpecError(f"{checkpoint} does not fit the new nets: {summary(found.problems)}")
    averages = {
        f"ema/{name}/{key}": tuple(value.shape)
        for name, net in state.averages.items()
        for key, value in net.state_dict().items()
    }
    wanted = [f"net/{name}" for name in found.taken]
    wanted += [f"ema/{name}" for name in found.taken if averages.get(f"ema/{name}", ()) == saved.get(f"ema/{name}")]
    with safe_open(checkpoint / STATE, framework="pt") as file:
        state.given = {name: file.get_tensor(name) for name in wanted}
    return found


def told(found: Fit) -> list[str]:
    """What a person should see of it: what starts anew, and what is left behind."""
    said = ((found.anew, "start anew"), (found.behind, "stay behind in the checkpoint"))
    return [f"these {what}: {_listed(names)}" for names, what in said if names]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
