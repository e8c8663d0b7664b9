"""`docs/adding-a-family.md` stays true: its family is built from the page and passes the contract tests and those of the spec."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The spec's union of archs is built when trainer.spec is imported, so the family joins the table before.
RUN = """
import sys
import trainer.families
trainer.families.__path__.append(sys.argv[1])
from trainer.families import table
table.NAMES = (*table.NAMES, "mlp")
import pytest
sys.exit(pytest.main(["-p", "no:cacheprovider", "-p", "no:xdist", "-k", "mlp or test_spec_families",
                      "tests/contracts/test_families.py", "tests/trainer/spec/test_spec_families.py"]))
"""


@pytest.mark.long
def test_the_documented_family_passes_the_contract_tests_and_those_of_the_spec(tmp_path: Path) -> None:
    blocks = dict(BLOCK.findall((ROOT / "docs" / "adding-a-family.md").read_text(encoding="utf-8")))
    assert set(blocks) == {"arch.py", "nets.py", "recipes.py"}
    folder = tmp_path / "mlp"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""The example family."""\n')
    for name, code in blocks.items():
        (folder / name).write_text(code, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, timeout=280
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(re.findall(r"(\d+) passed", ran.stdout)[-1]) > 60, ran.stdout
