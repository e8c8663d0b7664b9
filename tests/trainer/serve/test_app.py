"""The applications as Ray Serve builds them: light to import, typed arguments, and options that say what was asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
from asking import DIGEST, arguments
from pydantic import ValidationError
from ray import cloudpickle
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as built

from trainer.serve import app
from trainer.serve.plans import Plans
from trainer.serve.replica import Models
from trainer.serve.wire import MODELS, PLANS


def test_importing_it_brings_neither_torch_nor_mlflow():
    code = "import trainer.serve.app, sys; print([m for m in ('torch', 'mlflow', 'scipy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def deployment(builder, **args):
    return built(builder, {"token_digest": DIGEST, **args})._bound_deployment


def test_serve_makes_typed_arguments_of_a_declarations_and_refuses_others():
    found = deployment(app.build, cpus=2.5, gpus=1, replicas=3, idle_seconds=40, waiting=20)
    assert found.name == MODELS
    assert found.ray_actor_options == {"num_cpus": 2.5, "num_gpus": 1.0}
    scaling = found._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (0, 3)
    assert scaling.downscale_delay_s == scaling.downscale_to_zero_delay_s == 40
    with pytest.raises(ValidationError):
        deployment(app.build, cpu=1)


def test_several_replicas_get_no_more_than_they_take_so_that_another_one_is_asked():
    one, several = (deployment(app.build, replicas=n, waiting=20).max_ongoing_requests for n in (1, 3))
    assert (one, several) == (40, 20)


def test_plans_need_no_gpu():
    found = deployment(app.build_plans, cpus=2, gpus=1)
    assert (found.name, found.ray_actor_options["num_gpus"]) == (PLANS, 0.0)


def test_serve_takes_the_loading_of_models_for_a_method():
    """It looks the method up by the name that it was written with; by another one it would miss `self`."""
    assert getattr(Models, Models._model.__name__) is Models._model


@pytest.mark.parametrize("kind", [Models, Plans])
def test_replicas_are_pickled_by_name(kind):
    assert len(cloudpickle.dumps(kind)) < 200
    assert pickle.loads(cloudpickle.dumps(kind)) is kind
    assert pickle.loads(cloudpickle.dumps(arguments())) == arguments()
