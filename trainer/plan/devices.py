"""Processors by name: what they hold, how fast they compute and move. Torch-free.

Peaks are dense (no structured sparsity), as in the makers' data sheets: NVIDIA H100 (DS-H100-v2, SXM5), H200 (SXM), A100 (SXM4, 40 GB and
80 GB), V100 (SXM2, 16 GB and 32 GB), L4, and the Ada architecture's white paper for the GeForce RTX 4090 (bf16 with float32 accumulation).
Where a sheet gives only the sparse figure, half of it is dense. V100 has no TF32 and no bfloat16 arithmetic: convolutions of either
kind run at its float32 rate. `memory` is what the driver reports for an empty device, a little less than the name says.

Links are per direction: half of the sheet's bidirectional NVLink figure; PCIe 4.0 × 16 for L4 and RTX 4090. `network` is what one device
has towards other nodes, an assumption about the machines these devices are usually sold in: 400 Gb/s a GPU for H100 and H200, 200 Gb/s
for A100, 100 Gb/s a machine of eight for V100, and of L4 and RTX 4090.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainer.schema import Frozen
from trainer.spec import JobSpec

GIB, MIB = 2**30, 2**20
RUNTIME = {"cuda": 768 * MIB, "cpu": 640 * MIB}
"""Memory of a worker that is no tensor's. cuda: context, libraries' kernels and workspaces, NCCL's channels. cpu: the process
with its imports and its decoding threads."""
FRAGMENTED = 0.04
"""Share of a GPU's memory that its caching allocator is assumed to lose to blocks of the wrong size."""


class Device(Frozen):
    """One processor of a worker. Rates are per second: FLOPs of multiply and add (two), bytes."""

    name: str
    """As `--gpu` takes it."""
    title: str
    """For a person."""
    kind: Literal["cuda", "cpu"] = "cuda"
    memory: int = Field(ge=0)
    """Bytes of the device; of a CPU worker's share of its machine. 0: unknown, nothing is held against it."""
    fp32: float
    tf32: float
    bf16: float
    bandwidth: float
    """Of the device's own memory."""
    link: float
    """To other devices of its node."""
    network: float
    """To devices of other nodes."""
    per_node: int = 8

    @property
    def usable(self) -> int:
        """Bytes for tensors: what runtime and fragmentation leave."""
        whole = self.memory * (1.0 - FRAGMENTED) if self.kind == "cuda" else self.memory
        return max(0, int(whole) - RUNTIME[self.kind])


def _gpu(
    name: str, title: str, mib: int, tera: tuple[float, float, float], gigabytes: tuple[float, float, float]
) -> Device:
    """tera: fp32, tf32, bf16 in TFLOP/s. gigabytes: memory, link, network in GB/s."""
    fp32, tf32, bf16 = (value * 1e12 for value in tera)
    bandwidth, link, network = (value * 1e9 for value in gigabytes)
    return Device(
        name=name, title=title, memory=mib * MIB, fp32=fp32, tf32=tf32, bf16=bf16,
        bandwidth=bandwidth, link=link, network=network,
    )  # fmt: skip


GPUS: dict[str, Device] = {
    device.name: device
    for device in (
        _gpu("h100", "NVIDIA H100 SXM 80 GB", 81559, (66.9, 494.7, 989.4), (3352.0, 450.0, 50.0)),
        _gpu("h200", "NVIDIA H200 SXM 141 GB", 143771, (66.9, 494.7, 989.4), (4800.0, 450.0, 50.0)),
        _gpu("a100-40", "NVIDIA A100 SXM 40 GB", 40536, (19.5, 156.0, 312.0), (1555.0, 300.0, 25.0)),
        _gpu("a100-80", "NVIDIA A100 SXM 80 GB", 81920, (19.5, 156.0, 312.0), (2039.0, 300.0, 25.0)),
        _gpu("v100", "NVIDIA V100 SXM2 16 GB", 16160, (15.7, 15.7, 15.7), (900.0, 150.0, 1.56)),
        _gpu("v100-32", "NVIDIA V100 SXM2 32 GB", 32510, (15.7, 15.7, 15.7), (900.0, 150.0, 1.56)),
        _gpu("l4", "NVIDIA L4 24 GB", 23034, (30.3, 60.0, 121.0), (300.0, 32.0, 1.56)),
        _gpu("rtx4090", "NVIDIA GeForce RTX 4090 24 GB", 24564, (82.6, 82.6, 165.2), (1008.0, 32.0, 1.56)),
    )
}

ACCELERATOR_TYPES = {
    "H100": "h100", "H200": "h200", "A100": "a100-80", "A100-40G": "a100-40", "A100-80G": "a100-80",
    "V100": "v100-32", "L4": "l4",
}  # fmt: skip
"""Ray's name of a node's accelerator (`accelerator_type:NAME` in its resources) → ours; where the name leaves the size of the
memory open, the largest that it may mean."""


def cpu(memory: int = 0, *, flops: float = 40e9, bandwidth: float = 8e9) -> Device:
    """A CPU worker with so many bytes of memory. The rates are one modest core's; a calibration replaces them."""
    return Device(
        name="cpu", title="CPU", kind="cpu", memory=memory, fp32=flops, tf32=flops, bf16=flops / 2,
        bandwidth=bandwidth, link=2e9, network=1.25e9, per_node=64,
    )  # fmt: skip


def find(name: str) -> Device:
    """The device of that name; `cpu` for a CPU of unknown memory. Raises ValueError that lists the names."""
    if name == "cpu":
        return cpu()
    if name not in GPUS:
        raise ValueError(f"no device {name!r}; there are {', '.join((*GPUS, 'cpu'))}")
    return GPUS[name]


def placed(spec: JobSpec, world: int, device: Device) -> JobSpec:
    """The spec on `world` workers of that kind. Raises ValidationError if its lanes or micro-batch don't allow that many."""
    resources = spec.resources.replace(workers=world, min_workers=None, gpus_per_worker=int(device.kind == "cuda"))
    return spec.replace(resources=resources)
