"""Plans made on the cluster, by the application `plans` of Ray Serve, where this process has no torch; kept by what was asked."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from pydantic import ValidationError

from service.elsewhere import Errand
from service.errors import Problem
from service.plans.planner import KEPT, Key
from service.serving.asker import Asker
from trainer.plan.devices import Device
from trainer.plan.result import Plan
from trainer.serve.questions import PlanQuestion
from trainer.serve.wire import PLANS
from trainer.spec import JobSpec


class RemotePlanner:
    """One per application. All methods belong to the event loop."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._made: OrderedDict[Key, Plan] = OrderedDict()

    @property
    def able(self) -> bool:
        """Whether plans can be made there."""
        return self._asker.enabled

    async def plan(self, spec: JobSpec, world: int, device: Device, errand: Errand) -> Plan:
        """The plan, made now or before. Raises Problem: what the application refuses with, or why it isn't there."""
        key = (spec.digest(), world, device.name, device.memory)
        made = self._made.get(key) or await self._ask(PlanQuestion(spec=spec, world=world, device=device), errand)
        self._made[key] = made
        self._made.move_to_end(key)
        while len(self._made) > KEPT:
            self._made.popitem(last=False)
        return made

    async def _ask(self, question: PlanQuestion, errand: Errand) -> Plan:
        answer = await self._asker.ask(PLANS, f"/{PLANS}", question.model_dump_json().encode(), {}, errand)
        try:
            return await asyncio.to_thread(Plan.model_validate_json, answer.content)
        except ValidationError as error:
            raise Problem("what makes plans answered with none; it may be of another version") from error
