"""A question put to a process of its own, for those that have no torch: the control plane, and a job's driver."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Started = Callable[["subprocess.Popen[str]"], object]


class Answer(NamedTuple):
    """What a child said."""

    code: int
    text: str
    complaint: str

    @property
    def last_words(self) -> str:
        """Its last line of complaint, or else how it ended."""
        return (self.complaint.strip().splitlines()[-1:] or [f"exit code {self.code}"])[0]


def ask(module: Sequence[str], question: str, *, what: str, seconds: float, started: Started) -> Answer:
    """`python -m MODULE …` with the question on its standard input; it is ended after so many seconds.

    what: it is asked for, for a person. started: told of the process, so that others can end it. Raises TimeoutError.
    """
    pipe: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-m", *module], text=True, env=env, **pipe) as process:
        started(process)
        try:
            text, complaint = process.communicate(question, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise TimeoutError(f"no {what} after {seconds:g} s") from None
    return Answer(process.returncode, text, complaint)
