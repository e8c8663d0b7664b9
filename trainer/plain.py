"""Text of other programs as a terminal may have it: without what would move its cursor, set its title or answer for it."""

from __future__ import annotations

import re

ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # OSC, DCS, SOS, PM, APC: titles, links, clipboard
    r"|\x1b(?:[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
)
"""Whole sequences, ECMA-48."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that turn the direction of writing."""
OPEN = re.compile(r"(?:\x1b[^\n]{0,200}|\r)\Z")
"""What may be the beginning of a sequence, or of a line's end."""


def plain(text: str) -> str:
    """The text alone. What a carriage return would write over begins a line of its own."""
    lines = ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return CONTROLS.sub("", lines)


class Plain:
    """The same of a text that comes in pieces."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> str:
        """What can be shown now."""
        text = self._rest + text
        opened = OPEN.search(ESCAPES.sub(lambda whole: "x" * len(whole.group()), text))
        end = opened.start() if opened else len(text)
        self._rest = text[end:]
        return plain(text[:end])

    def end(self) -> str:
        """What was left."""
        rest, self._rest = self._rest, ""
        return plain(rest)
