"""The `agon` command. It talks to the REST API alone; verbs that train or sample run `python -m trainer.…` in its place.

app       the command, and how errors become messages and exit codes
stack     up, down, status
specs     recipes, init, validate
jobs      submit, jobs, show, watch, events
logs      logs; logged: what they have in common with a search's
search    search FILE and its verbs
models    models and its verbs; datasets, tokens, cluster likewise
groups    `agon models` lists, `agon models NAME` shows
children  data, train, pull, sample
samples   samples
report    report
watch     live progress; view: what of a job's events is shown
source    FILE|RECIPE and --set
bring     submit --data
commented specs as YAML with the schema's descriptions as comments
output    tables, JSON, sizes and times
"""

import sys
from io import TextIOWrapper


def main() -> None:
    """Entry point of `agon`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a path with é on a terminal that has none is no reason to fail
    from service.cli.app import run

    run()
