"""What happens around: reconcilers come, die and are held up; the cluster does what it does; drivers train, report and end."""

from __future__ import annotations

from typing import Any

from drivers import FATAL, RETRYABLE, Batch, Driver
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from lives import ENDED, Life, overdue
from processes import Process
from staged import CRASH, WHICH, Staged

SECONDS = st.sampled_from([1, 5, 15, 40, 100])
POINT = st.integers(0, 25)
WEATHER = ("passes", "passes", "away", "back", "back", "forgets", "refuses", "fails", "fine", "fine", "rude")


class Surroundings(Staged):
    """All but people."""

    def fresh(self, index: int) -> Process:
        """The one of that number, once it doesn't hang any more."""
        self.go_on(index)
        return self.reconcilers[index]

    @rule(index=st.integers(0, 1), seconds=SECONDS)
    def round(self, index: int, seconds: int) -> None:
        process = self.fresh(index)
        self.clock.forward(seconds)
        process.round()
        self.look()
        late = [life.id for life in self.living if life.wanted == "run" and overdue(life, self.clock())]
        assert not late, "their limits are used up"
        unheard = [life.id for life in self.living if life.wanted == "run" and life.state == "submitted"]
        assert not unheard, "nobody has looked at them"

    @rule(
        index=st.integers(0, 1), how=st.sampled_from(["killed", "killed", "held", "held", "unanswered"]),
        seconds=SECONDS, after=POINT,
    )  # fmt: skip
    def disturb(self, index: int, how: str, seconds: int, after: int) -> None:
        """A round in which a reconciler dies or is held up at a point, or isn't answered."""
        process = self.fresh(index)
        self.clock.forward(seconds)
        if how == "held":
            process.hold(after)
        elif how == "unanswered":
            process.unanswered(after)
        elif process.killed(after):
            self.reconcilers[index] = self.process()

    @rule(index=st.integers(0, 1))
    def go_on(self, index: int) -> None:
        process = self.reconcilers[index]
        if process.held_since is None:
            return
        lease = self.stage.settings.lease_seconds
        self.ray.late = (self.clock() - process.held_since).total_seconds() >= lease
        try:
            process.go_on()
        finally:
            self.ray.late = False
        self.look()

    # -- the world

    @rule(weather=st.sampled_from(WEATHER), seconds=SECONDS)
    def weather(self, weather: str, seconds: int) -> None:
        """What the cluster does by itself."""
        match weather:
            case "passes":
                self.clock.forward(seconds)
            case "away" | "back":
                self.ray.unreachable = weather == "away"
            case "forgets":
                self.ray.forget()
            case _:
                self.ray.refuse = "entrypoint is odd" if weather == "refuses" else ""
                self.ray.fail = "the agent is gone" if weather == "fails" else ""
                self.ray.polite = weather != "rude"

    @rule(index=st.integers(0, 1), seconds=SECONDS, rounds=st.integers(1, 3))
    def goes_well(self, index: int, seconds: int, rounds: int = 1) -> None:
        """For a while."""
        for _ in range(rounds):
            for driver in self.ray.alive:
                self.act(driver)
                if driver.alive:
                    self.post(driver)
            self.round(index, seconds)

    @precondition(lambda self: self.ray.alive)
    @rule(which=WHICH, word=st.sampled_from(["", "save", "waiting", "progress"]))
    def drive(self, which: int, word: str) -> None:
        """A driver does the next thing, or that."""
        self.act(self.ray.alive[which % len(self.ray.alive)], word)

    @precondition(lambda self: self.ray.alive)
    @rule(which=WHICH, word=st.sampled_from(["completed", *FATAL, *RETRYABLE, "die"]))
    def ends(self, which: int, word: str) -> None:
        """A driver comes to an end."""
        self.act(self.ray.alive[which % len(self.ray.alive)], word)

    def act(self, driver: Driver, word: str = "") -> None:
        life = next(life for life in self.lives if life.id == driver.job)
        if word == "die":
            self.ray.die(driver)
        elif not driver.begun:
            self.ray.begin(driver)
            assert driver.late or driver.told_attempt == driver.attempt, "it finds the file of its own attempt"
            if life.fork is not None and self.ray.spools[driver.job].step == life.fork:
                origin = driver.file.parent / "checkpoints" / f"step-{life.fork:09d}"
                assert (origin / "manifest.json").exists(), "it finds what it begins with"
            self.heard(driver, self.call("GET", f"/v1/jobs/{driver.job}/desired", headers=self.bearer(driver)))
        elif driver.said:
            self.ray.leave(driver)
        elif driver.heard:
            self.last_word(life, driver, "stopped")
        elif word == "waiting" and not driver.started:
            driver.waited = True
            life.waited = True
            self.ray.write(driver, "waiting", reason="needs 2 CPUs, 1 is free")
        elif not driver.started:
            driver.started = True
            self.ray.write(driver, "started", total_images=1000, workers=1)
        elif not life.is_search and (word == "save" or (word == "" and not self.ray.spools[driver.job].step)):
            self.ray.save(driver, self.row(driver.job).spec)
        elif word == "completed" or word in FATAL or word in RETRYABLE:
            self.last_word(life, driver, word)
        else:
            self.ray.write(driver, "progress", metrics={"loss": 1.0})

    def last_word(self, life: Life, driver: Driver, word: str) -> None:
        self.ray.say(driver, word)
        life.completed, life.fatal = life.completed or word == "completed", life.fatal or word in FATAL

    def bearer(self, driver: Driver) -> dict[str, str]:
        return {"Authorization": f"Bearer {driver.token}"}

    def heard(self, driver: Driver, reply: Any) -> None:
        """What a driver is told is what is wanted."""
        if reply.status_code == 401:  # of an older attempt, which ended long ago
            assert driver.late
            driver.heard = True
            return
        assert reply.status_code == 200, reply.text
        row = self.row(driver.job)
        life = next(life for life in self.lives if life.id == driver.job)
        old = driver.told_attempt < row.attempt
        stop = old or life.wanted != "run" or row.spent is not None or row.yields_to is not None or row.state in ENDED
        assert reply.json()["desired"] == ("stop" if stop else "run")
        driver.heard = driver.heard or stop

    @precondition(lambda self: self.ray.alive)
    @rule(which=WHICH, count=st.integers(1, 4), skip=st.sampled_from([0, 0, 0, 1]), crash=CRASH)
    def deliver(self, which: int, count: int, skip: int, crash: Any) -> None:
        """A driver's next events, or such behind them, to the API."""
        self.post(self.ray.alive[which % len(self.ray.alive)], count, skip, crash)

    def post(self, driver: Driver, count: int = 100, skip: int = 0, crash: Any = None) -> None:
        spool = self.ray.spools[driver.job]
        events = tuple(spool.events[spool.acked + skip :][:count])
        if not events or not driver.begun:
            return
        batch = Batch(driver.job, driver.token, events)
        self.batches.append(batch)
        reply = self.call(
            "POST", f"/v1/jobs/{driver.job}/events", crash, headers=self.bearer(driver), json={"events": events}
        )
        if reply is not None:
            self.heard(driver, reply)
            spool.acked = max(spool.acked, reply.json().get("acked", 0))

    @precondition(lambda self: self.batches)
    @rule(which=st.integers(0, 30))
    def late_events(self, which: int) -> None:
        """A request that was under way for long, or comes twice."""
        batch = self.batches[which % len(self.batches)]
        headers = {"Authorization": f"Bearer {batch.token}"}
        reply = self.call("POST", f"/v1/jobs/{batch.job}/events", headers=headers, json={"events": batch.events})
        assert reply.status_code in (200, 401)
