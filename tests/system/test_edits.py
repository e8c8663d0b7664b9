"""Edits and limits on the real stack: a run ends with a checkpoint when a limit is used up, and goes on edited."""

from __future__ import annotations

import pytest
from embedded import Stack
from test_stack import ENDLESS, _training, _until

from trainer.spec.limits import period

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(400), pytest.mark.xdist_group("stack")]
SEARCH = {
    "base": {
        "recipe": "gan-digits",
        "set": {
            "arch.g_hidden": 64, "arch.d_hidden": 64, "train.images": 64_000, "evaluation.samples": 300, "evaluation.metrics": ["fid"],
            "samples.every_steps": 100_000, "resources.workers": 1,
        },
    },
    "space": {"optimizers.G.lr": [1e-4, 2e-4]}, "algorithm": "grid", "evaluations": 16, "max_concurrent": 2, "smooth": 1,
    "limits": {"no_better_after": 100},
}  # fmt: skip


def test_a_job_that_has_used_up_its_time_goes_on_from_its_checkpoint_edited(stack: Stack) -> None:
    with stack.client() as client:
        job = client.submit(recipe="dcgan-digits", set=ENDLESS | {"resources.workers": 2, "limits.run": "10m"})
        used = _until(
            client, job.id, _training
        ).usage.run_seconds  # on a busy machine workers alone take a minute to start
        most = int(used) + 10
        client.edit(job.id, {"limits.run": f"{most}s"})
        ended = client.wait(job.id)
        assert (ended.state, ended.limit, ended.failure) == ("cancelled", "run", None)
        assert ended.reason == f"limits.run: its {period(most)} on the cluster are used up"
        assert most <= ended.usage.run_seconds < most + 40
        assert ended.usage.cpu_seconds > 1.5 * ended.usage.run_seconds
        folder = stack.layout.home / "jobs" / job.id / "checkpoints"
        saved = max(path.parent.name for path in folder.glob("step-*/manifest.json"))
        assert "would end at once" in stack.agon("retry", job.id, code=4).stderr
        changes = ("limits.run=null", "resources.workers=1", "labels.edited=true")
        stack.agon("edit", job.id, *(word for change in changes for word in ("--set", change)))
        stack.agon("retry", job.id)
        _until(client, job.id, lambda found: found.attempt == 2 and _training(found))
        assert "pause it first" in stack.agon("edit", job.id, "--set", "resources.workers=2", code=4).stderr
        client.edit(job.id, {"limits.run": "1s"})
        again = client.wait(job.id)
        assert (again.state, again.limit, again.labels) == ("cancelled", "run", {"edited": "true"})
        assert again.usage.run_seconds > ended.usage.run_seconds
        starts = [event.data for event in client.events(job.id) if event.kind == "started"]
        assert [(start["resumed_from"], start["workers"]) for start in starts] == [
            (None, 2), (int(saved.removeprefix("step-")), 1),
        ]  # fmt: skip


def test_a_search_that_gets_no_better_keeps_its_trials_and_goes_on_when_it_may(stack: Stack) -> None:
    with stack.client() as client:
        search = client.search(SEARCH)
        ended = client.wait_search(search.id)
        assert (ended.state, ended.limit) == ("cancelled", "no_better_after"), ended.reason
        assert ended.reason.startswith("limits.no_better_after: fid has not been better than")
        assert ended.trials.get("paused", 0) >= 1
        client.edit_search(search.id, {"limits.no_better_after": None})
        client.extend(search.id, budget={"images": 100_000})
        done = client.wait_search(search.id)
        assert (done.state, done.limit) == ("succeeded", None), done.reason
