"""WebDataset's tars: an image and a `cls` of one name are a sample, as `000017.jpg`, `000017.cls`."""

from __future__ import annotations

from pathlib import PurePosixPath

from trainer.data.layouts.base import Reading, Tree, few, numbers, plural

NAME = "webdataset"
MOST_CLASSES = 100_000
_LONGEST = 200


def read(tree: Tree) -> Reading | None:
    """A `cls` holds a number from 0 on, or the class's name. None if the source has no `cls`."""
    tables = [name for name in tree.others if _kind(name) == "cls"]
    if not tables:
        return None
    keys = {_key(name): name for name in tables}
    labels: dict[str, str] = {}
    samples: dict[str, str] = {}
    several, wrong = [], []
    for name in tree.images:
        key = _key(name)
        if key not in keys:
            continue
        if key in samples:
            several.append(key)
        samples[key] = name
        text = tree.table(keys[key])[:_LONGEST].decode("utf-8", "replace").strip()
        if not text or not text.isprintable() or (_is_number(text) and int(text) >= MOST_CLASSES):
            wrong.append(keys[key])
        labels[name] = text
    numbered = not wrong and all(_is_number(text) for text in labels.values())
    used = frozenset(name for name in tree.others if _key(name) in keys)
    return Reading(
        NAME,
        "WebDataset's samples with cls",
        {name: str(int(text)) for name, text in labels.items()} if numbered else labels,
        declared=numbers(int(text) for text in labels.values()) if numbered else (),
        used=used,
        refusal=_refusal(several, wrong, [key for key in keys if key not in samples]),
    )


def _refusal(several: list[str], wrong: list[str], lonely: list[str]) -> str | None:
    if several:
        return (
            f"{plural(len(several), 'sample')} hold several images ({few(several)}); keep the one that is to be drawn"
        )
    if wrong:
        return f"the label of {plural(len(wrong), 'sample')} is no class ({few(wrong)}); write a number from 0 on, or a name"
    if lonely:
        return f"{plural(len(lonely), 'sample')} hold a cls and no image ({few(lonely)}); write the archives again"
    return None


def _key(name: str) -> str:
    """A sample's name: all up to the first dot of the last part."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _kind(name: str) -> str:
    return PurePosixPath(name).name.partition(".")[2].lower()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
