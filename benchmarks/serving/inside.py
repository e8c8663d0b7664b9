"""`python -m benchmarks.serving.inside PACKAGE N SECONDS THREADS SEED`: the same questions to the package in this process.

Prints JSON: seconds of each question, and SHA-256 of the first one's images.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time

import numpy as np
import torch

from trainer.publish.portable.generator import Generator


def main(package: str, n: int, seconds: float, threads: int, seed: int) -> None:
    """One question after another, each answered by an archive as over HTTP."""
    torch.set_num_threads(threads)
    generator = Generator(package)
    generator.sample(n, seed)  # the first one also plans the nets' convolutions
    took: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(took) < 3:
        at = time.perf_counter()
        z, labels = generator.latents(n, seed + len(took)), generator.labels(n, seed + len(took))
        arrays = {"images": generator.decode(z, labels), "z": z}
        np.savez(io.BytesIO(), allow_pickle=False, **arrays, **({} if labels is None else {"labels": labels}))
        took.append(time.perf_counter() - at)
    first = hashlib.sha256(generator.sample(n, seed).tobytes()).hexdigest()
    sys.stdout.write(json.dumps({"seconds": took, "whole": time.perf_counter() - begun, "first": first}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
