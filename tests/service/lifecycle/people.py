"""What people do."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lives import ENDED, ON_RAY, Life, allowed
from staged import CPUS, CRASH, OWNERS, WHICH, Staged

SPEC = {
    "name": "small",
    "arch": {"family": "dcgan", "resolution": 16, "channels": 1},
    "optimizers": {"G": {"kind": "adam"}, "D": {"kind": "adam"}},
    "train": {"images": 1000},
}
SEARCH = {"space": {"train.seed": {"kind": "randint", "low": 1, "high": 1000}}, "algorithm": "random", "trials": 2}
LIMITS = st.sampled_from([{}, {}, {}, {"run": 90}, {"wait": 120}, {"wall": 400}])
MOST_JOBS = 7


class People(Staged):
    """They submit, ask, edit, keep and delete."""

    @precondition(lambda self: len(self.lives) < MOST_JOBS)
    @rule(
        owner=st.sampled_from(OWNERS), workers=st.sampled_from([1, 1, 2, 2, 4, 8]), priority=st.sampled_from([20, 50, 80]),
        preemptible=st.booleans(), attempts=st.integers(1, 3), limits=LIMITS, crash=CRASH, search=st.sampled_from([False, False, True]),
    )  # fmt: skip
    def submit(
        self,
        owner: str,
        workers: int,
        priority: int,
        preemptible: bool,
        attempts: int,
        limits: dict[str, int],
        crash: Any,
        search: bool = False,
    ) -> None:
        queue = {"priority": priority, "preemptible": preemptible}
        part = {"resources": {"workers": workers}, "retry": {"attempts": attempts}, "queue": queue}
        if search and workers <= CPUS:  # a larger one is refused
            self.created("searches", {"search": {**SEARCH, "base": SPEC | part, "limits": limits}}, owner, crash)
        else:
            self.created("jobs", {"spec": {**SPEC, **part, "limits": limits}}, owner, crash)

    def created(self, path: str, body: dict[str, Any], owner: str, crash: Any) -> None:
        self.keys += 1
        asked = {"json": body, "headers": {"Idempotency-Key": str(self.keys)}}
        reply = self.call("POST", f"/v1/{path}", crash, owner, **asked)
        if reply is None:
            reply = self.call("POST", f"/v1/{path}", None, owner, **asked)
        assert reply.status_code == 201, reply.text
        shown = reply.json()
        life = Life(shown["id"], owner, self.clock(), fork=(shown.get("fork") or {}).get("step"))
        life.read(self.row(life.id).spec)
        life.allowed = life.attempts
        self.lives.append(life)

    @precondition(lambda self: self.living)
    @rule(which=WHICH, crash=CRASH)
    def cancel(self, which: int, crash: Any) -> None:
        self.ask(which, "cancel", crash)

    @precondition(lambda self: self.living)
    @rule(which=WHICH, crash=CRASH)
    def pause(self, which: int, crash: Any) -> None:
        self.ask(which, "pause", crash)

    @precondition(lambda self: self.living)
    @rule(which=WHICH, verb=st.sampled_from(["resume", "retry", "extend"]), crash=CRASH)
    def goes_on(self, which: int, verb: str, crash: Any) -> None:
        self.ask(which, verb, crash)

    def ask(self, which: int, verb: str, crash: Any) -> None:
        """Of one of which it may be asked, if there is one and the number isn't high."""
        asked = [life for life in self.living if life.knows(verb)]
        if not asked:
            return
        apt = [life for life in asked if 202 in allowed(verb, life, self.row(life.id))]
        life = apt[which % len(apt)] if apt and which < 6 else asked[which % len(asked)]
        for died in (crash, None) if crash else (None,):
            row = self.row(life.id)
            may = allowed(verb, life, row)
            body = {"json": {"trials": row.spec["trials"] + 1}} if verb == "extend" else {}
            reply = self.call("POST", f"{life.url}/{verb}", died, life.owner, **body)
            if reply is None:
                done = died == "after" and self.row(life.id).revision != row.revision
            else:
                assert reply.status_code in may, (verb, life.state, life.wanted, reply.text)
                done = reply.status_code == 202
            if done:
                self.asked(life, verb, row)
            self.look()

    def asked(self, life: Life, verb: str, row: Any) -> None:
        if verb in ("cancel", "pause"):
            life.wanted = "stop" if verb == "cancel" else "pause"
        elif row.state in (*ENDED, "paused"):
            life.put_back()
            life.again = life.again or verb == "retry"
        elif verb == "resume":
            life.wanted = "run"

    @precondition(lambda self: self.living)
    @rule(
        which=WHICH,
        change=st.sampled_from(
            [("queue.priority", 10), ("queue.priority", 90), ("queue.preemptible", True), ("resources.workers", 1),
             ("resources.workers", 2), ("retry.attempts", 1), ("retry.attempts", 3), ("limits", {}), ("limits.wait", 60),
             ("labels.team", "x")]
        ),
        crash=CRASH,
    )  # fmt: skip
    def edit(self, which: int, change: tuple[str, Any], crash: Any) -> None:
        life, (path, value) = self.pick(which), change
        resting = path.startswith(("resources", "retry")) and life.state in ON_RAY
        late = not path.startswith("labels") and life.state == "succeeded" and not life.is_search
        if life.is_search and not path.startswith(("labels", "limits")):
            path = f"base.{path}"
        before = self.row(life.id).spec
        reply = self.call("PATCH", life.url, crash, life.owner, json={"set": {path: value}})
        if reply is None:
            reply = self.call("PATCH", life.url, None, life.owner, json={"set": {path: value}})
        spec = self.row(life.id).spec
        if reply.status_code == 200:
            assert not (resting or late) or spec == before
        else:
            assert (reply.status_code, resting or late) == (409, True), reply.text
            assert spec == before
        life.read(spec)
        life.allowed = min(life.allowed, life.attempts)

    @precondition(lambda self: self.living and len(self.lives) < MOST_JOBS)
    @rule(which=WHICH, crash=CRASH)
    def fork(self, which: int, crash: Any) -> None:
        life = self.pick(which)
        if self.steps(life):
            self.created(
                "jobs", {"from": {"job": life.id}, "set": {"resources.workers": 1, "limits": {}}}, life.owner, crash
            )

    def steps(self, life: Life) -> list[int]:
        """Of its checkpoints; those of a search's trials are nobody's here."""
        if life.is_search:
            return []
        reply = self.call("GET", f"/v1/jobs/{life.id}/checkpoints", owner=life.owner)
        return [item["step"] for item in reply.json()["items"]]

    @precondition(lambda self: self.living)
    @rule(which=WHICH, what=st.sampled_from(["pin", "unpin", "collect", "cap"]), running=st.sampled_from([None, 1, 2]))
    def keep(self, which: int, what: str, running: int | None) -> None:
        life = self.pick(which)
        if what == "collect":
            self.collect()
            return
        if what == "cap":
            self.cap(life.owner, running)
            return
        for step in self.steps(life)[:1]:
            pin = f"/v1/jobs/{life.id}/checkpoints/{step}/pin"
            reply = self.call("PUT" if what == "pin" else "DELETE", pin, owner=life.owner)
            assert reply.is_success or (reply.status_code == 404 and what == "unpin"), reply.text
            life.pins = life.pins | {step} if what == "pin" else life.pins - {step}

    def collect(self) -> None:
        before = {life.id: self.steps(life) for life in self.living}
        assert self.call("POST", "/v1/gc", owner="root", json={"dry_run": False}).status_code == 200
        for life in self.living:
            left = self.steps(life)
            assert life.pins <= set(left)
            assert left[:1] == before[life.id][:1], "the newest stays"
            assert life.state in ENDED or left == before[life.id]

    @precondition(lambda self: self.living)
    @rule(which=WHICH, crash=CRASH)
    def delete(self, which: int, crash: Any) -> None:
        life = self.pick(which)
        reply = self.call("DELETE", life.url, crash, life.owner)
        if reply is None:
            reply = self.call("DELETE", life.url, None, life.owner)
            assert reply.status_code in (204, 404, 409)
        if reply.status_code == 409:
            return
        assert life.state in ENDED
        assert not life.pins
        assert not [driver for driver in self.ray.of(life.id) if not driver.late], "its driver is still there"
        assert self.call("GET", life.url).status_code == 404
        assert not (self.stage.settings.jobs_root / life.id).exists()
        life.deleted = True
        for driver in self.ray.of(life.id):
            driver.alive = False

    def cap(self, owner: str, running: int | None) -> None:
        assert self.call("PUT", f"/v1/owners/{owner}/caps", owner="root", json={"running": running}).status_code == 200
        self.caps[owner] = running
