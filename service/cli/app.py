"""The `agon` command: its verbs, and how errors become one clear line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from service.cli import (
    ask,
    audit,
    checkpoints,
    children,
    cluster,
    compare,
    datasets,
    delete,
    edit,
    fork,
    gc,
    groups,
    jobs,
    logs,
    models,
    owners,
    report,
    samples,
    serve,
    specs,
    stack,
    tokens,
    usage,
    webhooks,
)
from service.cli.output import Exit, err, fail
from service.cli.search import app as search

EPILOG = (
    "Exit codes: 0 done · 1 it failed (a job, a part of the stack) · 2 wrong argument or invalid spec ·"
    " 3 the API can't be reached · 4 the API refused · 130 interrupted.\n\n"
    "Environment: AGON_HOME (state of the local stack, ~/.agon) · AGON_URL and AGON_TOKEN (another API than the local one) ·"
    " MLFLOW_TRACKING_URI (another registry)."
)

app = typer.Typer(
    name="agon",
    cls=groups.Root,
    help="Agon trains generative adversarial networks as a service. Begin: agon up, then agon submit dcgan-digits --wait",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"agon {version('agon')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


SERVER = "What the server has"
VERBS: dict[str, tuple[Callable[..., None], ...]] = {
    "The stack": (stack.up, stack.down, stack.status),
    "Specs": (specs.recipes, specs.init, specs.validate),
    "Jobs": (
        jobs.submit,
        fork.fork,
        jobs.watch,
        jobs.jobs,
        jobs.show,
        jobs.events,
        logs.logs,
        samples.samples,
        compare.compare,
        report.report,
        edit.edit,
        ask.cancel,
        ask.pause,
        ask.resume,
        ask.retry,
        delete.delete,
    ),
    SERVER: (cluster.cluster, gc.gc, usage.usage, audit.audit),
}
GROUPS: dict[str, tuple[groups.Group, ...]] = {
    "Jobs": (checkpoints.GROUP,),
    SERVER: (datasets.GROUP, models.GROUP, tokens.GROUP, owners.GROUP, webhooks.GROUP),
}
CHILDREN = (children.data, children.plan, children.train, children.pull, children.sample, children.import_)

for _panel, _verbs in VERBS.items():
    for _verb in _verbs:
        app.command(rich_help_panel=_panel, context_settings={"help_option_names": ["-h", "--help"]})(_verb)
app.add_typer(
    search.group(EPILOG),
    name="search",
    rich_help_panel="Searches",
    short_help="Search over fields of a spec: submit, watch, stop, extend (Ray Tune).",
    context_settings=search.HELP_OPTIONS,
)
app.add_typer(
    serve.group(EPILOG),
    name="serve",
    rich_help_panel="Data, training and models",
    short_help="What answers questions to models over HTTP: status, stop.",
    context_settings=search.HELP_OPTIONS,
)
for _panel, _groups in GROUPS.items():
    for _group in _groups:
        app.add_typer(
            _group.app(EPILOG),
            name=_group.name,
            rich_help_panel=_panel,
            short_help=_group.help.partition("\n")[0],
            context_settings=groups.HELP_OPTIONS,
        )
for _child in CHILDREN:  # their options, --help too, are the child's
    app.command(rich_help_panel="Data, training and models", context_settings=children.PASS_ON, add_help_option=False)(
        _child
    )


def run() -> None:
    """Run the command and exit."""
    try:
        app(prog_name="agon")
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `agon … | head` is no error
        sys.exit(Exit.OK)
    except Exception as error:
        try:
            _explain(error)
        except typer.Exit as ended:
            sys.exit(ended.exit_code)


def _explain(error: Exception) -> None:
    """Print an error that a person can act on and raise typer.Exit; others go on as a bug's traceback."""
    from service.client.errors import ApiError, ClientError, NotConfigured, Unreachable
    from service.stack.errors import StackError
    from trainer.spec import SpecError

    if isinstance(error, SpecError):
        count = len(error.errors)
        fail(f"the spec is not valid: {count} field{'s are' if count != 1 else ' is'} wrong", Exit.USAGE, error.errors)
    if isinstance(error, ApiError):
        from service.cli.words import refusal

        message, fields = refusal(error)
        fail(message, Exit.USAGE if error.status == 422 else Exit.REFUSED, fields)
    if isinstance(error, NotConfigured | Unreachable):
        fail(str(error), Exit.UNREACHABLE)
    if isinstance(error, ClientError | StackError | OSError):
        fail(str(error), Exit.FAILED)
    raise error
