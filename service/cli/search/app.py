"""The group of verbs `agon search`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from service.cli.search import ask, look, start
from service.cli.search.arguments import VERBS

HELP = """Search over fields of a spec with Ray Tune: random, grid, TPE (Optuna), ASHA, population-based training.

`agon search FILE` is short for `agon search submit FILE`. A file says which job is varied, and how:

```yaml
name: digits-lr
base: {recipe: dcgan-digits, set: {train.images: 100000, publish.model: digits}}
space:
  optimizers.G.lr: {loguniform: [1e-5, 1e-2]}
  objective.loss: [non-saturating, hinge]
metric: fid
algorithm: asha+optuna
trials: 16
max_concurrent: 2
```

`agon search init RECIPE` prints one to begin with, every field explained. docs/searches.md is the guide.
"""
FUNCTIONS: tuple[Callable[..., None], ...] = (
    start.submit, look.list_, look.show, start.watch, look.trials, ask.edit, ask.stop, ask.cancel, ask.pause, ask.resume, ask.extend, ask.delete,
    look.logs, look.report, start.init, start.validate,
)  # fmt: skip
COMMANDS = dict(zip(VERBS, FUNCTIONS, strict=True))
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class ShortForm(TyperGroup):
    """`agon search FILE …` means `agon search submit FILE …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A first word that is no verb belongs to `submit`."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["submit", *args]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def group(epilog: str) -> typer.Typer:
    """The verbs below `agon search`."""
    found = typer.Typer(cls=ShortForm, no_args_is_help=True, help=HELP, epilog=epilog, rich_markup_mode="markdown")
    for name, verb in COMMANDS.items():
        found.command(name, context_settings=HELP_OPTIONS)(verb)
    return found
