"""Scores the generator that will be published, on all ranks together, beside training and without touching it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer import draws
from trainer.access import Access
from trainer.data.locate import ANYWHERE
from trainer.data.stream import Dataset
from trainer.engine.distributed import Distributed
from trainer.engine.events import Event, Run, RunStarted, Scored, StepDone
from trainer.engine.sampling import sample
from trainer.engine.standing import described, standing
from trainer.evaluate import kernel, neighbours
from trainer.evaluate.accumulate import CHUNK, KEPT, gather_features
from trainer.evaluate.features import Extractor, extractor
from trainer.evaluate.files import replace_atomically
from trainer.evaluate.reconstruction import PROTOCOL, reconstruction_error
from trainer.evaluate.references import reference_features
from trainer.evaluate.scores import score
from trainer.evaluate.truncation import Point, truncation_curve, verdict
from trainer.spec import JobSpec

RECONSTRUCTION = "reconstruction"
CURVE = "truncation_curve"
VERDICT = "truncation_verdict"
"""Keys of the provenance that hold the truncation curve, and whether the model is amenable to truncation."""
VERSION = 1
"""Raised when scores of one model would change, so that cached reports of older code are not used."""


class Evaluator:
    """Listener: emits `Scored` every `evaluation.every_steps` steps and when training is complete.

    Image i of an evaluation depends on (train.seed, i) alone and real images are a fixed subset, so scores do not
    depend on the number of workers. Reports are cached by the weights' hash: a run that is resumed after its last step
    reports again without sampling again. A run that was stopped early is not scored at its end.
    """

    def __init__(self, spec: JobSpec, dataset: Dataset, cache_dir: Path, access: Access = ANYWHERE) -> None:
        """`cache_dir` is shared by all workers and jobs; `access`: where a user's extractor may lie."""
        self._spec = spec
        self._dataset = dataset
        self._cache_dir = cache_dir
        self._access = access
        self._extractor: Extractor | None = None
        self._features = [metric for metric in spec.evaluation.metrics if metric != RECONSTRUCTION]

    def handle(self, event: Event, run: Run) -> None:
        """Evaluate if this step is due. Collective: every rank sees the same events."""
        if isinstance(event, RunStarted) and self._features and self._spec.evaluation.extractor != "classifier":
            self._ready(run.distributed)  # a user's file that can't be used fails now, not after hours of training
        if isinstance(event, StepDone) and self._due(event):
            scores, provenance = self.evaluate(run)
            if event.images >= self._spec.train.images and self._spec.evaluation.truncations:
                points = self.curve(run)
                provenance |= {CURVE: points, VERDICT: verdict(points)}
            run.emit(Scored(event.step, event.images, scores, provenance))

    def close(self) -> None:
        """Nothing to release."""

    def evaluate(self, run: Run) -> tuple[dict[str, float], dict[str, Any]]:
        """(scores, provenance) of the run's present generator, the same on every rank. All ranks must call it."""
        distributed = run.distributed
        players = ("G", "E") if RECONSTRUCTION in self._spec.evaluation.metrics else ("G",)
        nets = {name: _rank_0s(self._sampled(name, run), distributed) for name in players}
        found = self._ready(distributed) if self._features else None
        provenance = self._provenance(found, nets["G"])
        path = self._cache_dir / "reports" / f"{_key(nets, self._spec, provenance)}.json"
        if distributed.any(distributed.is_main and path.exists()):
            scores = json.loads(path.read_text()) if distributed.is_main else None
        else:
            scores = self._measure(nets, found, run)
            if distributed.is_main:
                with replace_atomically(path) as aside:
                    aside.write_text(json.dumps(scores))
        return _from_rank_0(scores, self._spec.evaluation.metrics, distributed), provenance

    def curve(self, run: Run) -> list[Point]:
        """The truncation curve of the run's present generator, `evaluation.truncations`. All ranks must call it."""
        spec, state, distributed = self._spec, run.state, run.distributed
        count = min(spec.evaluation.samples, KEPT)
        nets: dict[float | None, nn.Module] = {}

        def images(limit: float | None, start: int, n: int) -> NDArray[np.uint8]:
            if limit not in nets:
                nets.clear()
                nets[limit] = standing(state.family, spec, net, limit)
            return sample(
                state.family,
                spec.arch,
                nets[limit],
                n=n,
                seed=spec.train.seed,
                start=start,
                batch=CHUNK,
                truncation=limit,
            )

        net, found = _rank_0s(state.net("G"), distributed), self._ready(distributed)
        real = reference_features(self._dataset, found, self._cache_dir, distributed, count=count)
        return truncation_curve(spec.evaluation.truncations, count, images, found, real, distributed)

    def _sampled(self, player: str, run: Run) -> nn.Module:
        """The player's net; of G with the statistics that it is published with."""
        net = run.state.net(player)
        return standing(run.state.family, self._spec, net) if player == "G" else net

    def _due(self, event: StepDone) -> bool:
        every = self._spec.evaluation.every_steps
        complete = event.last and event.images >= self._spec.train.images
        return complete or (every is not None and event.step % every == 0 and not event.last)

    def _ready(self, distributed: Distributed) -> Extractor:
        if self._extractor is None:
            settings = self._spec.evaluation
            self._extractor = extractor(settings, self._dataset, self._cache_dir, distributed, self._access)
        return self._extractor

    def _measure(self, nets: Mapping[str, nn.Module], found: Extractor | None, run: Run) -> dict[str, float] | None:
        """The scores on rank 0, None elsewhere."""
        spec, distributed = self._spec, run.distributed
        count, scores = spec.evaluation.samples, {}

        if found is not None:
            scores.update(self._compare(nets["G"], found, run) or {})
        if "E" in nets:
            error = reconstruction_error(nets["G"], nets["E"], spec.arch, self._dataset, distributed, count=count)
            scores[RECONSTRUCTION] = error
        return scores if distributed.is_main else None

    def _compare(self, net: nn.Module, found: Extractor, run: Run) -> dict[str, float] | None:
        """The scores that compare features, on rank 0; None elsewhere."""
        spec, distributed, count = self._spec, run.distributed, self._spec.evaluation.samples

        def chunk(start: int, n: int) -> Tensor:
            images = sample(run.state.family, spec.arch, net, n=n, seed=spec.train.seed, start=start, batch=CHUNK)
            return found(torch.from_numpy(images).permute(0, 3, 1, 2))

        real = reference_features(self._dataset, found, self._cache_dir, distributed, count=count)
        fake = gather_features(count, chunk, distributed, keep=set(self._features) != {"fid"})
        return score(real, fake, self._features) if distributed.is_main else None

    def _provenance(self, found: Extractor | None, net: nn.Module) -> dict[str, Any]:
        spec, manifest = self._spec, self._dataset.manifest
        provenance = {
            "extractor": found and found.name,
            "extractor_digest": found and found.digest,
            "resizer": found and found.resizer,
            "samples": spec.evaluation.samples,
            "real_samples": min(spec.evaluation.samples, manifest.samples),
            "batch_norm": described(spec, net),
            "truncation": None,
            "dataset_digest": manifest.digest,
            "spec_digest": spec.digest(),
            "seed": spec.train.seed,
            "draws": draws.SCHEME,
            "kid": f"mean of {kernel.SUBSETS} subsets of at most {kernel.SUBSET_SIZE}",
            "precision_recall": f"k = {neighbours.NEIGHBOURS}",
        }
        return provenance | ({RECONSTRUCTION: PROTOCOL} if RECONSTRUCTION in spec.evaluation.metrics else {})


def _rank_0s(trained: nn.Module, distributed: Distributed) -> nn.Module:
    """The net with rank 0's buffers, which is the one saved and published. Training's own nets stay as they are."""
    if distributed.world == 1:
        return trained
    net = copy.deepcopy(trained)
    distributed.sync_buffers(net)
    return net


def _key(nets: Mapping[str, nn.Module], spec: JobSpec, provenance: Mapping[str, Any]) -> str:
    """SHA-256 over the weights and all that the scores depend on."""
    digest = hashlib.sha256()
    for player, net in nets.items():
        for name, tensor in sorted(net.state_dict().items()):
            digest.update(f"{player}:{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    basis = [VERSION, provenance, spec.evaluation.metrics]
    digest.update(json.dumps(basis, sort_keys=True).encode())
    return digest.hexdigest()


def _from_rank_0(scores: dict[str, float] | None, metrics: Sequence[str], distributed: Distributed) -> dict[str, float]:
    """Rank 0's scores on every rank, so that all say exactly the same."""
    own = torch.zeros(len(metrics), dtype=torch.float64, device=distributed.device)
    if scores is not None:
        own = torch.tensor([scores[name] for name in metrics], dtype=torch.float64, device=distributed.device)
    gathered = distributed.gather(own)[: len(metrics)]
    return dict(zip(metrics, gathered.tolist(), strict=True))
