"""A model's card, Markdown as `trainer.publish.card` writes it, as HTML: headings, tables, code, paragraphs, and nothing that could be more."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from markupsafe import Markup, escape

_HEADING = re.compile(r"(#{1,6}) (.+)")
_CODE = re.compile(r"`([^`]+)`")
_RULE = re.compile(r"\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?)?\s*")


def rendered(text: str) -> Markup:
    """All of it is escaped. The card's own title is left out: a page has one."""
    return Markup("\n").join(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line, begun = lines[at], at
        if line.startswith("```"):
            at = _until(lines, at + 1, lambda found: found.startswith("```"))
            yield Markup('<pre tabindex="0">{}</pre>').format("\n".join(lines[begun + 1 : at]))
            at += 1
        elif line.startswith("|"):
            at = _until(lines, at, lambda found: not found.startswith("|"))
            yield _table(lines[begun:at])
        elif heading := _HEADING.fullmatch(line):
            at += 1
            if len(heading[1]) > 1:
                level = min(len(heading[1]) + 1, 6)
                yield Markup("<h{0}>{1}</h{0}>").format(level, _inline(heading[2]))
        elif not line.strip():
            at += 1
        else:
            at = _until(lines, at + 1, lambda found: not found.strip() or found.startswith(("```", "|", "#")))
            yield Markup("<p>{}</p>").format(_inline(" ".join(lines[begun:at])))


def _until(lines: list[str], at: int, ends: Callable[[str], bool]) -> int:
    while at < len(lines) and not ends(lines[at]):
        at += 1
    return at


def _table(lines: list[str]) -> Markup:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if not _RULE.fullmatch(line)
    ]
    head, *body = rows or [[]]
    cells = Markup("").join(Markup("<th scope=col>{}</th>").format(_inline(cell)) for cell in head)
    told = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(_inline(cell)) for cell in row))
        for row in body
    )
    head_row = Markup("<thead><tr>{}</tr></thead>").format(cells) if any(head) else Markup("")
    return Markup('<div class="scroll" tabindex="0"><table>{}<tbody>{}</tbody></table></div>').format(head_row, told)


def _inline(text: str) -> Markup:
    parts = _CODE.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )
