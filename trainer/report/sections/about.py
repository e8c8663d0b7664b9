"""Where a model comes from."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.report.page import Block, Code, Table
from trainer.report.subject import Subject
from trainer.spec import dump_spec


def about(subject: Subject) -> Sequence[Block]:
    """Lineage, provenance of the scores, and the spec."""
    facts = {**subject.facts, **subject.history.facts}
    if subject.dataset is not None:
        manifest = subject.dataset.manifest
        facts["data"] = f"{manifest.name}: {manifest.samples:,} images, {len(manifest.classes) or 'no'} classes"
    blocks: list[Block] = [Table([[name, value] for name, value in facts.items()], caption="Lineage")]
    if subject.provenance:
        basis = [[name, "none" if value is None else str(value)] for name, value in subject.provenance.items()]
        caption = "Provenance of the scores, which compare only with scores of the same"
        blocks.append(Table(basis, caption=caption))
    return [*blocks, Code("The whole spec", dump_spec(subject.spec).strip())]
