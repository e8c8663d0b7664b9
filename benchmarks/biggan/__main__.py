"""BigGAN's step as the public PyTorch code computes it, and ours, in one run.

    python -m benchmarks.biggan [--quick]

The same nets, losses, optimisers and numbers of images; the plain form has resampling and convolution apart, a power
iteration in every pass, attention with its whole matrix, torch's default Adam and contiguous tensors. Ours is the
engine's own step with everything in it. Each has a process of its own, as it would; they take turns, and a ratio is the
median over the turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import mean, median

import torch

from benchmarks.biggan import processes
from benchmarks.biggan.measure import convolution_peak, flops, peak_memory, ratio
from benchmarks.biggan.processes import Member
from benchmarks.biggan.steps import REGULARISATIONS, PlainStep, Step, our_step, plain_with_memory_kept, regularisations
from benchmarks.common import Report, arguments
from trainer.families.table import recipes
from trainer.spec import JobSpec, with_overrides

THREADS = 2
PLAIN, KEPT, CONTIGUOUS, OURS, BF16 = (
    "plain", "plain, freed memory kept", "ours, contiguous", "ours", "ours, bf16",
)  # fmt: skip
REGULARISATION = f"orthogonal regularisation × {REGULARISATIONS}"
ALONE = [
    "data.lanes=4", "resources.workers=1", "resources.gpus_per_worker=0", "train.micro_batch=null", "train.precision=fp32",
    "objective.penalties=[]",
]  # fmt: skip
CASES: dict[str, tuple[str, list[str], float]] = {
    "32 px": ("biggan-cifar10", ["arch.g_width=24", "arch.d_width=24", "train.batch=32"], 2.0),
    "128 px": (
        "biggan-imagenet128", ["arch.g_width=16", "arch.d_width=16", "train.batch=8", "objective.d_steps=1"], 4.0,
    ),
}  # fmt: skip
"""Name → recipe, what is changed of it, and how many times faster than the plain form the step has to be."""
SMALL = {
    "32 px": ["arch.g_width=8", "arch.d_width=8", "train.batch=4", "objective.d_steps=1"],
    "128 px": ["arch.g_width=8", "arch.d_width=8", "train.batch=4", "arch.resolution=32", "arch.attention=16",
               "arch.latent.dim=20", "arch.classes=10"],
}  # fmt: skip
"""What --quick changes besides."""


def case(name: str, quick: bool, *, channels_last: bool) -> JobSpec:
    """The spec of a case."""
    recipe, changes, _ = CASES[name]
    last = f"train.channels_last={str(channels_last).lower()}"
    return with_overrides(recipes()[recipe](), [*ALONE, *changes, *(SMALL[name] if quick else ()), last])


def measure(report: Report, name: str, repeats: int, peak: float) -> None:
    """One case: its rows and its targets."""
    contiguous, last = (case(name, report.quick, channels_last=value) for value in (False, True))
    ways: dict[str, tuple[Callable[[JobSpec], Step], JobSpec]] = {
        PLAIN: (PlainStep, contiguous), KEPT: (plain_with_memory_kept, contiguous), CONTIGUOUS: (our_step, contiguous), OURS: (our_step, last),
        BF16: (our_step, with_overrides(last, ["train.precision=bf16"])), REGULARISATION: (regularisations, last),
    }  # fmt: skip
    threads = torch.get_num_threads()
    times = processes.taking_turns(
        {way: [Member(make, (spec,), threads)] for way, (make, spec) in ways.items()}, repeats
    )
    work = {way: flops(make(spec)) for way, (make, spec) in ways.items()}
    memory = {way: peak_memory(*ways[way]) for way in ways if way != REGULARISATION}
    seconds = {way: median(found.seconds) for way, found in times.items()}
    faster = {way: ratio(times[PLAIN].seconds, found.seconds) for way, found in times.items()}
    for way, found in times.items():
        took, in_fp32 = seconds[way], way != BF16
        report.row(
            case=name, step=way, milliseconds=took * 1e3, fastest=min(found.seconds) * 1e3, system_ms=mean(found.system) * 1e3,
            gflop=work[way] / 1e9, gflop_per_s=work[way] / took / 1e9, share_of_peak=work[way] / took / peak if in_fp32 else None,
            peak_mib=memory.get(way), faster=None if way == REGULARISATION else faster[way],
        )  # fmt: skip
    report.at_least(f"{name}: ours against plain", CASES[name][2], measured=faster[OURS], unit="×")
    report.at_most(f"{name}: peak memory of ours", 1.0, measured=memory[OURS] / memory[PLAIN], unit="of plain")
    share = seconds[REGULARISATION] / REGULARISATIONS / seconds[OURS]
    report.at_most(f"{name}: orthogonal regularisation", 0.03, measured=share, unit="of a step")
    if name == "32 px":
        report.at_least(f"{name}: share of the convolution peak", 0.8, measured=work[OURS] / seconds[OURS] / peak)
        report.note(f"{name}: with 4 × 4 kernels ours would take {work[CONTIGUOUS] / 1e9:.0f} GFLOP and not {work[OURS] / 1e9:.0f}, which in "
                    f"the same time would be {work[CONTIGUOUS] / seconds[OURS] / peak:.3f} of the peak")  # fmt: skip


def together(report: Report, repeats: int) -> None:
    """What several workers cost beside several threads, on the same two cores."""
    spec = case("32 px", report.quick, channels_last=True)
    alone, pair = (1, THREADS), (THREADS, 1)
    times = processes.taking_turns(
        {(world, threads): processes.group(our_step, (spec,), world, threads) for world, threads in (alone, pair)},
        repeats,
    )
    for (world, threads), found in times.items():
        words = f"{world} worker{'s' * (world > 1)}, {threads} thread{'s' * (threads > 1)} each"
        report.row(case="32 px", step=words, milliseconds=median(found.seconds) * 1e3, fastest=min(found.seconds) * 1e3)
    report.at_least(
        f"32 px: DDP, {THREADS} workers × 1 thread against 1 × {THREADS}", 0.85, unit="×",
        measured=ratio(times[alone].seconds, times[pair].seconds),
    )  # fmt: skip


def main() -> int:
    """Measure both cases, then workers."""
    parser = arguments("biggan", "BigGAN's step in the plain form and in ours.")
    parser.add_argument("--repeats", type=int, default=None, help="turns that the steps take (default: 15; quick: 2)")
    parser.add_argument("--threads", type=int, default=THREADS, help=f"threads to compute with (default: {THREADS})")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = Report("biggan", options)
    peak = partial(convolution_peak, 0.01, [(4, 16, 8)]) if options.quick else partial(convolution_peak, 0.5)
    peaks = [peak()]
    for name in CASES:
        measure(report, name, options.repeats or (2 if options.quick else 15), peaks[0])
    peaks.append(peak())
    together(report, options.repeats or (2 if options.quick else 15))
    report.note(f"threads: {torch.get_num_threads()}; convolution peak {peaks[0] / 1e9:.0f} GFLOP/s before, "
                f"{peaks[1] / 1e9:.0f} after (3 × 3, forward and backward, the fastest of several shapes and layouts)")  # fmt: skip
    report.note("orthogonal regularisation is no part of the steps above: the public code's scripts leave it out, too")
    report.note(
        "targets are those of ours in float32, as the plain form is; bf16 is what the ImageNet recipes train in"
    )
    report.note("system_ms: what the operating system computes in a step, on all threads: by default it takes freed memory back, then "
                "hands out and zeroes the pages anew, which depends on the machine's other guests and is much of the plain form at 128 px; "
                "a worker of ours keeps freed memory, and one row has the plain form do so, too")  # fmt: skip
    report.note("a share of the peak counts each way's own FLOPs, of convolutions, matrix products and attention; ours takes resampling "
                "convolutions apart into a box and 9 products where the fused 4 × 4 kernel has 16, so the same time is a smaller share")  # fmt: skip
    report.note("ours: channels last, as the recipes have it; memory is resident memory beyond that of an idle process")
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
