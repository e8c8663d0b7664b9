"""The control plane under load: how many requests a second it takes, how late its answers and its streams are, and what limits it.

Three processes. The **server** is uvicorn with the application as `agon up` runs it, its reconciler included, on a database of its
own; only Ray is replaced, at its seam, by `service.gateway.fake_ray` (`server.py`). The **load generator** is another process that
knows HTTP alone (`load.py`). The process that runs the benchmark prepares rows, measures the server's CPU time from outside, and
sleeps meanwhile (`world.py`).

The load is open loop: when each request is due is drawn beforehand (Poisson, by the seed), and its latency counts from then, so that a
server that falls behind is charged for the wait. As many connections as there are clients carry the requests; what is not answered
`GRACE` seconds after the last was due is counted as unserved, and as at least so late. `reached` is answers a second.

| scenario | what happens |
|---|---|
| submissions | 50 clients post jobs: at a fraction of what the server can do, at the target's rate, and at more than it can do |
| waiting | the same with 10,000 jobs in the queue |
| lists | pages by many filters, and deep ones, of 100,000 jobs |
| followers | 1,000 streams: of one job, of a job each, and of all runs, while 100 events a second are reported |
| events | running jobs report events in batches of several sizes |
| restart | the server ends and starts again while 1,000 jobs are on the cluster, of which a tenth ended meanwhile |
| rounds | CPU of one round of the reconciler by how many jobs have ended, and of a server that nobody asks anything |

SQLite is a file, PostgreSQL a server of its own with `fsync` on: a 201 is on the disk in both. Rows that were there before are inserted
in bulk, copied from one that a request's own code has made (`rows.py`). Beside the latencies, which a busy machine spoils, stands the
server's CPU time per request; `cores` is what share of one processor the server took. What limits it py-spy finds, which samples the
server's stacks from outside (`sampler.py`); its text is in the JSON.
"""
