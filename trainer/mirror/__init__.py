"""A second copy of runs' folders in an object store: checkpoints, samples, packages, logs. Torch-free.

The control plane copies (`copying.copy`, one pass over a folder), a driver that finds its folder empty brings it back
(`bringing.bring_back`). `place` is the store, `files` says what of a folder is copied and in which order. What the copy has of a
folder is in the folder's `.mirror.json`, so that a pass asks the store for nothing that it knows.

    s3://bucket/prefix/j-0123456789ab/checkpoints/step-000000500/{state.safetensors, meta.json, manifest.json} · samples/… · model/…

Of a checkpoint the manifest is written last, and read back with the files that it proves: a checkpoint that has its manifest in the
store is whole there.
"""

from __future__ import annotations
