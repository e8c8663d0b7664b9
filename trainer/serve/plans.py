"""Plans, made in child processes: for a control plane that has no torch. Knows no Ray, and imports no torch."""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from trainer.plan.child import PlanFailedError, plan_in_child
from trainer.plan.result import Plan
from trainer.serve import door
from trainer.serve.door import Answer
from trainer.serve.questions import PlanQuestion
from trainer.serve.refusals import RefusedError, WrongError
from trainer.serve.wire import Reason, ServeArguments
from trainer.spec import SpecError

MOST_BODY = 1 << 20
FULL_SECONDS = 2.0
"""After which asking again makes sense; a plan takes some seconds."""
Make = Callable[..., Plan]
"""`plan_in_child`, or a test's double."""
_log = logging.getLogger(__name__)


class Plans:
    """One per replica: as many plans at a time as it has CPUs."""

    def __init__(self, args: ServeArguments, make: Make = plan_in_child) -> None:
        self._args, self._make, self._open = args, make, 0
        self._threads = ThreadPoolExecutor(max(1, int(args.cpus)), "plan")

    async def __call__(self, request: Request) -> Response:
        """One plan."""
        return await door.through(request, self._args.token_digest, partial(self._answer, request))

    async def _answer(self, request: Request) -> Answer:
        if self._open >= self._args.waiting:
            raise RefusedError(Reason.FULL, f"{self._open} plans are being made; ask again", after=FULL_SECONDS)
        self._open += 1
        try:
            plan = await self._planned(await door.question(request, PlanQuestion, MOST_BODY))
        except SpecError as error:
            raise WrongError(error.errors) from error
        except TimeoutError as error:
            raise RefusedError(Reason.LATE, str(error)) from error
        except PlanFailedError as error:
            _log.exception("no plan")
            raise RefusedError(Reason.BROKEN, f"the planning process ended without a plan: {error}") from error
        finally:
            self._open -= 1
        return Answer(plan.model_dump_json().encode(), "application/json")

    async def _planned(self, asked: PlanQuestion) -> Plan:
        """Whoever stops waiting ends the child."""
        child = _Child()
        make = partial(
            self._make, asked.spec, world=asked.world, device=asked.device,
            seconds=self._args.seconds, started=child.began,
        )  # fmt: skip
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, make)
        except asyncio.CancelledError:
            child.end()
            raise


class _Child:
    """A process that may be ended before it began."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._over = False

    def began(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        if self._over:
            self.end()

    def end(self) -> None:
        self._over = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
