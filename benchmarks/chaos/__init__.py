"""Chaos: processes killed by SIGKILL, connections cut, clocks set and databases restarted, while people use the control plane.

    people ── proxy ── API × 1 or 2 (+ a reconciler apart) ── proxy ── Ray ── nodes ── drivers ── workers
    (people.py) (proxy.py)   (victim.py: the product)           (head.py)  (nursery.py)  (driver.py, worker.py)
                                       │                                                     │
                                 SQLite or PostgreSQL (databases.py)             proxy ── API (the product's spool and pusher)

`stage.py` puts one such world up in a folder; `havoc.py` breaks it, seeded; `judge.py` says, once all is calm, which promises were
broken. `embedded.py` does the same to the embedded stack, with real Ray and real trainings (`--real`).

Ray is replaced at its HTTP seam: what answers the control plane is a process of ours that speaks the part of Ray's Jobs API which
`service/gateway/ray_jobs.py` uses, keeps its jobs on disk, and really starts processes. Their training is a chain of hashes, whose every
step can be told in advance; its events and checkpoints are written by the product's own code.
"""
