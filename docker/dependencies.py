"""What pyproject.toml asks for, one requirement a line, for a layer that no change of code makes anew.

`python dependencies.py pyproject.toml s3 gcs` prints the dependencies and those of the extras that are named. Raises KeyError
for an extra that isn't there.
"""

import sys
import tomllib
from pathlib import Path


def requirements(file: Path, extras: list[str]) -> list[str]:
    """The dependencies of the project, then those of its extras."""
    project = tomllib.loads(file.read_text())["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])))
