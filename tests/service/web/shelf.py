"""The models of the furnished house, and the replica that answers for them."""

from __future__ import annotations

import time
from typing import Any

from drawing import draws

from service.datasets import store
from service.db.times import time_in
from service.gateway.fake_serve import FakeServe
from service.gateway.ray_serve import AppState
from service.runs import served
from trainer.abilities import TAG, Abilities, AbleCode
from trainer.serve.wire import MODELS

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "<b>nine</b>")
DATA = {
    "resolution": 16, "channels": 1, "classes": list(DIGITS), "class_counts": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],
    "samples": 1797, "shards": 4, "bytes": 812_345, "digest": "d" * 64,
}  # fmt: skip
CARD = """# digits

A class-conditional (10 classes) generator of family `dcgan`: 16 × 16 pixels, grey, trained on 1,797 images of digits.

## Scores

| metric | value | better is |
|---|---|---|
| fid | 18.9 | lower |

## Use

```python
import mlflow  # <b>not bold</b>
```
"""


def fill(house: Any) -> None:
    """What was published, and a replica that answers."""
    data = {
        "agon.dataset_digest": "d" * 64,
        "agon.extractor_digest": "e" * 64,
        "agon.samples": "1000/1797",
        "agon.metric": "fid",
    }
    store.create(house.db, "digits-16", "/data/digits-16", DATA, "ada")
    record = house.registry.track(house.by_name["digits-first"])
    can = Abilities(family="dcgan", resolution=16, channels=1, classes=10, truncation=True, class_names=DIGITS)
    made = [house.by_name["digits-first"], house.by_name["digits-first"], house.long, house.long]
    for number, (job, fid, won) in enumerate(zip(made, (31.5, 24.2, 18.9, 19.4), (1, 1, 1, 0), strict=True), 1):
        verdict = f"version {number} is {'' if won else 'not '}champion: its fid of {fid} is {'below' if won else 'above'} that of the one before"
        scores = {"agon.score.fid": str(fid), "agon.score.precision": "0.61", "agon.score.recall": "0.42"}
        gate = {"agon.champion": str(bool(won)).lower(), "agon.verdict": verdict}
        tags = {**data, **scores, **gate, "agon.job_id": job, "agon.step": str(number * 100), TAG: can.tag()}
        created = int((time.time() - (5 - number) * 40_000) * 1000)
        house.registry.add("digits", tags, record, created=created, description=CARD)
    house.registry.set_alias("digits", "champion", "3")
    house.registry.set_alias("digits", "best-faces", "2")
    codes = (AbleCode(name="c1", kind="categorical", size=10), AbleCode(name="c2", kind="continuous", size=1))
    coded = Abilities(family="infogan", resolution=16, channels=1, codes=codes, encoder=True)
    house.registry.add("coded", {"agon.job_id": "j-0123456789ab", TAG: coded.tag()}, created=int(time.time() * 1000))
    house.registry.add(
        "a-model-of-another-publisher-with-a-name-as-long-as-it-may-be", {"note": "<b>bold</b>"}, created=1
    )
    answering(house.serve)
    with house.db.begin() as session:
        place = served.touch(session, MODELS, time_in(session))
        served.change(session, place, phase="ready", cpus=1.0, replicas=1, running=1, token="secret")


def answering(serve: FakeServe) -> FakeServe:
    """The same, with a replica that draws."""
    serve.answer, serve.there = draws, True
    serve.applications[MODELS] = AppState("RUNNING", running=1)
    return serve
