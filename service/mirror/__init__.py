"""The second copy of runs' folders (`trainer.mirror`), kept by whichever API process holds the lock."""

from __future__ import annotations
