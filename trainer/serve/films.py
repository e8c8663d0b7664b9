"""Films, by the `ffmpeg` of the machine where there is one. Imports no torch."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.serve.refusals import wrong

ENCODER = "ffmpeg"
SECONDS = 60.0
"""Limit of one film."""


def mp4(frames_nHWC: NDArray[np.uint8], fps: int) -> bytes:
    """frames_nHWC, 1 or 3 channels, as H.264 in MP4. Raises RefusedError where no encoder is installed, or it can't."""
    path = shutil.which(ENCODER)
    if path is None:
        raise wrong("form", "no encoder for mp4 is installed where this model runs", "ask for webp or gif")
    _, height, width, channels = frames_nHWC.shape
    with tempfile.TemporaryDirectory(prefix="agon-film-") as folder:
        out = Path(folder) / "film.mp4"
        command = [
            path, "-nostdin", "-loglevel", "error",
            "-f", "rawvideo", "-pix_fmt", "gray" if channels == 1 else "rgb24",
            "-s", f"{width}x{height}", "-r", str(fps), "-i", "pipe:0",
            "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p",
            "-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1",
            "-movflags", "+faststart", str(out),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, input=frames_nHWC.tobytes(), capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise wrong("form", f"the film wasn't made within {SECONDS:g} s", "ask for fewer frames, or webp") from None
        if done.returncode or not out.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise wrong("form", f"the encoder for mp4 can't make the film: {said[0][:200]}", "ask for webp or gif")
        return out.read_bytes()
