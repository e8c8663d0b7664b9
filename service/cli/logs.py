"""agon logs."""

from __future__ import annotations

from service.cli.arguments import connect
from service.cli.logged import Asked, Source, of_search, options, show
from service.cli.trained import Trained, id_of


@options()
def logs(job: Trained, asked: Asked) -> None:
    """Print the log of a job's driver, or of one of its workers; follow it, search in it, or fetch it.

    The driver's has what the workers printed, too, as far as Ray brought it; a worker's own has all of it, to the last byte
    before a kill. What is printed has no control characters; --out keeps every byte. With --follow the log of each later
    attempt comes behind the one before. --search prints as grep does, and ends with code 1 if no line has the text.

    Examples:

    - `agon logs dcgan-digits`
    - `agon logs dcgan-digits -f --tail 50`
    - `agon logs dcgan-digits --attempt 1 --rank 3`
    - `agon logs dcgan-digits --search error --search nan -C 2`
    - `agon logs dcgan-digits --rank 3 --out rank-3.log`
    - `agon logs dcgan-digits --all --out logs.tar`
    - `agon logs dcgan-digits --list`
    - `agon logs digits-lr/3`
    """
    with connect() as client:
        of = id_of(client, job)
        show(client, of_search(client, of) if "/" in of else Source(of, client.job(of)), asked)
