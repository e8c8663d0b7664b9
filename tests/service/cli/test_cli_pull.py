"""`agon pull --api`: a model through the API, with a token alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

FILES = {"MLmodel": b"flavors: {}\n", "code/loader.py": b"", "model.safetensors": bytes(range(256)) * 5}
CHECKSUMS = json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}).encode()
WHOLE = {**FILES, "checksums.json": CHECKSUMS}


def test_the_command_pulls_it_proved_into_a_folder_or_a_tar(agon: Any, world: Any, tmp_path: Path) -> None:
    world.registry.upload(world.registry.add("demo", record="a" * 32), WHOLE)
    world.registry.set_alias("demo", "champion", "1")
    done = agon("pull", "demo", str(tmp_path / "out"), "--api")
    assert (done.code, done.out.strip()) == (0, str(tmp_path / "out")), done.err
    there = {file.relative_to(tmp_path / "out").as_posix(): file for file in (tmp_path / "out").rglob("*")}
    assert {name: file.read_bytes() for name, file in there.items() if file.is_file()} == WHOLE
    for name in ("demo@champion", "models:/demo/1"):
        assert agon("pull", name, str(tmp_path / f"{len(name)}.tar"), "--api").code == 0
    again = agon("pull", "demo", str(tmp_path / "out"), "--api")
    assert again.code == 2 and "is there already" in again.err
    missing = agon("pull", "demo@best", str(tmp_path / "other"), "--api")
    assert missing.code == 4 and "has no alias best (it has: champion)" in missing.err
    altered = world.registry.upload(world.registry.add("demo", record="c" * 32), {**WHOLE, "MLmodel": b"other: {}\n  "})
    broken = agon("pull", f"demo/{altered.version}", str(tmp_path / "other"), "--api")
    assert broken.code != 0 and "MLmodel" in broken.err and not (tmp_path / "other").exists()
