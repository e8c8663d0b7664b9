"""What a spec will cost before it runs: parameters, FLOPs, memory, traffic, time (docs/scaling.md).

`devices`, `result`, `child`, `preflight` are torch-free; the control plane and the driver import them and run the rest in a child
process. `study` runs the family's own nets, phases and optimisers on fake tensors, so nothing here knows a family.
"""
