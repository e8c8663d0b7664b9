"""agon edit."""

from __future__ import annotations

from service.cli.arguments import Changes, Etag, connect, quoted
from service.cli.facts import edited
from service.cli.jobs import JobArgument, find
from service.cli.output import err, print_json
from service.cli.specs import Json


def edit(job: JobArgument, set_: Changes, if_match: Etag = None, json_: Json = False) -> None:
    """Change fields of a job: name, labels and notes at any time; queue and limits until it has succeeded; resources, retry and
    publish while it waits or is paused, or before it is retried.

    All of them, or none. What is trained depends on the other fields: `agon fork` makes another job of it. Exit code 2 if a field
    can't be edited, 4 if it can't in this state.

    Examples:

    - `agon edit dcgan-digits --set labels.team=vision --set notes='the one for the paper'`
    - `agon edit j-0123456789 --set queue.priority=80 --set limits.run=4h`
    - `agon edit j-0123456789 --set resources.workers=4 --set resources.min_workers=2`
    - `agon edit j-0123456789 --set notes=better --if-match 4f1d2c3b5a697887`
    """
    from service.cli.search.source import set_of

    with connect() as client:
        found = client.edit(find(client, job).id, set_of(set_), if_match=quoted(if_match))
    if json_:
        print_json(found.model_dump(mode="json"))
    else:
        err.print(edited("job", found))
