"""Plans for a control plane without torch: the plan, or why there is none; who stops waiting ends the child."""

from __future__ import annotations

import asyncio
import sys
import threading
from subprocess import Popen

import pytest
from asking import arguments, put

from trainer.families.table import recipes
from trainer.plan.child import PlanFailedError
from trainer.plan.devices import cpu
from trainer.plan.result import Plan
from trainer.serve.plans import Plans
from trainer.serve.questions import PlanQuestion
from trainer.serve.wire import Reason
from trainer.spec import FieldError, SpecError

ASKED = PlanQuestion(spec=recipes()["gan-digits"](), world=1, device=cpu())


def ask(make=None, question=None, **changes):
    plans = Plans(arguments(**changes), *([make] if make else []))
    body = (ASKED.model_dump_json() if question is None else question).encode()
    return asyncio.run(put(plans, "/plans", body, {}))


def test_a_plan_is_made_in_a_child_and_answered_as_it_is():
    said = ask()
    assert said.status == 200, said.body
    assert Plan.model_validate_json(said.body).workers == 1


def raising(error):
    def make(spec, **_):
        raise error

    return make


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SpecError([FieldError(path="train.batch", message="doesn't divide")]), Reason.WRONG),
        (TimeoutError("no plan after 60 s"), Reason.LATE),
        (PlanFailedError("Killed"), Reason.BROKEN),
        (RuntimeError("a bug"), Reason.BROKEN),
    ],
)
def test_each_way_to_fail_has_its_reason(error, reason):
    refusal = ask(raising(error)).refusal
    assert refusal.reason is reason
    assert "a bug" not in refusal.message
    if reason is Reason.WRONG:
        assert refusal.errors == tuple(error.errors)


@pytest.mark.parametrize("question", ["{", "{}", '{"spec": {}, "world": 0, "device": {}}'])
def test_what_is_no_question_is_refused_by_field(question):
    assert ask(raising(AssertionError), question).refusal.reason is Reason.WRONG


def test_a_stranger_gets_none():
    said = asyncio.run(put(Plans(arguments()), "/plans", b"{}", {}, token="Bearer other"))
    assert said.refusal.reason is Reason.STRANGER


def test_who_stops_waiting_ends_the_child():
    running, ended = threading.Event(), []

    def make(spec, *, started, **_):
        with Popen([sys.executable, "-c", "import time; time.sleep(60)"], text=True) as child:
            started(child)
            running.set()
            ended.append(child.wait(60))
        raise PlanFailedError("ended")

    async def scenario():
        plans = Plans(arguments(), make)
        asking = asyncio.create_task(put(plans, "/plans", ASKED.model_dump_json().encode(), {}))
        await asyncio.to_thread(running.wait, 30)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(30):
            while not ended:
                await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert ended[0] < 0
