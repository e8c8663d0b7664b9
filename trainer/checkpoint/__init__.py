"""Checkpoints: safetensors and JSON, written aside, checksummed, the manifest last, renamed into place.

>>> path = write(directory, step, state.tensors(), state.meta())
>>> tensors, meta = read(latest(directory))
"""

from trainer.checkpoint.files import latest, read, step_path, write
from trainer.checkpoint.keep import Best
from trainer.checkpoint.listener import Checkpointer
from trainer.checkpoint.restore import Restored, restore
from trainer.checkpoint.rollbacks import RollBack, RollBacks, healthy_checkpoint

__all__ = [
    "Best",
    "Checkpointer",
    "Restored",
    "RollBack",
    "RollBacks",
    "healthy_checkpoint",
    "latest",
    "read",
    "restore",
    "step_path",
    "write",
]
