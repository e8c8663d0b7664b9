"""The applications, as Ray Serve builds them from the arguments of their declaration: `trainer.serve.app:build`, `…:build_plans`.

Imported where Serve builds them and by its controller: no torch here, and no annotations as text, for Serve reads those of `args`.
"""

from typing import Any

from ray import serve

from trainer.serve.plans import Plans
from trainer.serve.replica import Models
from trainer.serve.wire import MODELS, PLANS, ServeArguments

GRACE_SECONDS = 10.0
"""That a replica which is to go has for the questions that it is at."""
HEALTH_SECONDS, HEALTH_TIMEOUT = 5.0, 60.0
"""Between looks at a replica's health; the limit of one, for reading a large model may hold a replica up."""
FULL_SECONDS = 2.0
"""After which asking again makes sense where Serve itself refuses."""


def build(args: ServeArguments) -> serve.Application:
    """Answers questions to models. Its one deployment takes HTTP itself, so that a question has one way only: proxy, replica."""
    return serve.deployment(Models, name=MODELS, **_options(args, args.gpus)).bind(args)


def build_plans(args: ServeArguments) -> serve.Application:
    """Makes plans; they need no GPU."""
    return serve.deployment(Plans, name=PLANS, **_options(args, 0.0)).bind(args)


def _options(args: ServeArguments, gpus: float) -> dict[str, Any]:
    """How many replicas, when, and with what.

    A replica refuses itself what it has no place for, saying when to ask again, so Serve gives it more than it takes. Of several
    replicas, Serve goes on to another one only when it may give the first no more, so then it gives them no more than they take.
    """
    return {
        "ray_actor_options": {"num_cpus": args.cpus, "num_gpus": gpus},
        "max_ongoing_requests": args.waiting * (2 if args.replicas == 1 else 1),
        "max_queued_requests": args.waiting,
        "backpressure_config": {"status_code": 429, "retry_after_s": FULL_SECONDS},
        "autoscaling_config": {
            "min_replicas": 0,
            "initial_replicas": 1,  # it is declared when someone asks
            "max_replicas": args.replicas,
            "target_ongoing_requests": max(1, args.waiting // 4),
            "metrics_interval_s": 1.0,
            "look_back_period_s": 3.0,
            "upscale_delay_s": 1.0,
            "downscale_delay_s": args.idle_seconds,
            "downscale_to_zero_delay_s": args.idle_seconds,
        },
        "graceful_shutdown_wait_loop_s": 0.5,
        "graceful_shutdown_timeout_s": GRACE_SECONDS,
        "health_check_period_s": HEALTH_SECONDS,
        "health_check_timeout_s": HEALTH_TIMEOUT,
    }
